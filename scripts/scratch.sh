#!/bin/bash
# Runs a command with an empty file system of its own on /var/tmp, where tests have their files.
#
# Tests make and remove files by the hundred thousand and ask for each database commit to be on disk. Here that
# costs what memory costs, whatever the machine's own file system is: nothing waits for a disk, and an ext4
# without a journal, as some build machines have, searches long for an inode that was not in use a minute ago.
# The file system is in a file without a name, mounted for this command and what it starts alone, so that it is
# gone when they are, however they end. Where there can be none (no loop device, or this project itself is in
# /var/tmp), the command runs without.
#
# usage: scratch.sh COMMAND...
set -euo pipefail

export PATH=$PATH:/usr/sbin:/sbin
# In the new mount namespace. The image is descriptor 9, which the mount then holds.
if [ "${1:-}" = --inside ]; then
    shift
    if mount -t ext4 -o loop,noatime,nobarrier,data=writeback,noinit_itable /proc/self/fd/9 /var/tmp; then
        chmod 1777 /var/tmp
    else
        echo "scratch: no file system of its own for /var/tmp, see above" >&2
    fi
    exec 9<&-
    exec "$@"
fi

[ "$(id -u)" = 0 ] || { echo "scratch: must be run as root" >&2; exit 98; }
case $(readlink -f "$0")/ in /var/tmp/*) exec "$@" ;; esac
image=$(mktemp /var/tmp/lxd-scratch.XXXXXX)
exec 9<> "$image"
rm "$image"
truncate -s 32G /proc/self/fd/9
mke2fs -q -t ext4 -F -J size=64 -E lazy_itable_init=1,lazy_journal_init=1,nodiscard /proc/self/fd/9
export TMPDIR=/var/tmp
exec unshare --mount --propagation private -- "$0" --inside "$@"
