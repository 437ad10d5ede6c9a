#!/bin/bash
# Runs end-to-end tests in an emulated machine that is what most users have: Debian's kernel with control
# groups v2 alone, AppArmor, quotas and tracking of changed memory, and systemd as process 1.
#
# usage: vm.sh [--brief | --shell COMMAND | --prepare] [TEST[:FILTER]]...
#   TEST             a file of crates/e2e/tests; FILTER is how the names of its tests begin
#   --brief          the smallest set that shows the product to work there, in a few minutes; without systemd
#   --shell COMMAND  runs a command there instead, as root, with the binaries in PATH
#   --prepare        only gets the emulator and makes the root file system, where they are not there yet
# Without tests it runs the chosen set below. Prints what the tests print, and exits as they do.
#
# The machine is emulated (no KVM needed) and forgets everything. Its emulator and its root file system are
# made from Debian's packages once and kept in target/vm (or $LXD_VM_CACHE); nothing of the host changes.
# Where they cannot be had it prints `SKIP: vm: reason` and succeeds. A test that is skipped there has to be in
# .ci/permitted-skips.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."

# What shows that the product works on such a machine. Emulated, each of them takes a minute or so.
chosen="
apparmor
cgroup2
devices:raw_lxc
limits:disks_are_throttled
limits:kernel_limits
systemd_unit
stateful:memory_is_written_early
"
# Limits, delegation, devices and AppArmor: what `.ci/run` has time for.
brief="
apparmor:a_privileged_container_is_held
cgroup2:devices
cgroup2:limits
devices:raw_lxc
"
# Seconds that the machine may run, all in all.
limit=${LXD_VM_LIMIT:-1500}
cache=${LXD_VM_CACHE:-$PWD/target/vm}
bin=${LXD_BIN_DIR:-$PWD/target/debug}

# What the daemon and the tests need there.
packages=linux-image-cloud-amd64,systemd,systemd-sysv,dbus,kmod,netbase,iproute2,iputils-ping,dnsmasq-base,nftables
packages+=,btrfs-progs,squashfs-tools,e2fsprogs,xz-utils,zstd,bzip2,lxcfs,apparmor,busybox-static,uidmap,procps,bsdutils
packages+=,libseccomp2,libgcc-s1,curl,jq
# Instead of a program in Perl that makes what the hook below has made already.
packages+=,usr-is-merged

skip() {
    echo "SKIP: vm: $*"
    exit 0
}

fail() {
    echo "vm: $*" >&2
    exit 1
}

# Unpacks or installs packages into a directory: fetch VARIANT PACKAGES DIR [OPTIONS]
fetch() {
    local variant=$1 include=$2 dir=$3
    shift 3
    # A mirror's snapshot may be older than its release file allows.
    mmdebstrap --quiet --variant="$variant" --include="$include" --aptopt='APT::Install-Recommends "false"' \
        --aptopt='Acquire::Check-Valid-Until "false"' "$@" "$suite" "$dir" "$mirror" > /dev/null 2> "$cache/log"
}

# The emulator: the installed one, or one unpacked into the cache and run by its own loader. Debian's package
# would take others away from machines with newer parts of it.
find_emulator() {
    emulator=(qemu-system-x86_64)
    command -v qemu-system-x86_64 > /dev/null && return
    local root=$cache/qemu
    if [ ! -d "$root" ]; then
        echo "vm: unpacking an emulator into $root"
        rm -rf "$root.new"
        fetch extract qemu-system-x86 "$root.new" || skip "qemu is not to be had: $(tail -n 1 "$cache/log")"
        rm -rf "$root.new"/usr/share/{doc,man,locale,icons}
        mv "$root.new" "$root"
    fi
    local libraries=usr/lib/x86_64-linux-gnu
    emulator=(env "QEMU_MODULE_DIR=$root/$libraries/qemu" "$root/lib64/ld-linux-x86-64.so.2" --library-path "$root/$libraries:$root/lib/x86_64-linux-gnu:$root/$libraries/pulseaudio"
        "$root/usr/bin/qemu-system-x86_64" -L "$root/usr/share/qemu" -L "$root/usr/share/seabios")
}

# An initial file system that finds the disk and nothing else: a distribution's own takes half of the time to boot.
make_initial() {
    local tree=$cache/initial kernel module number=10
    rm -rf "$tree"
    mkdir -p "$tree/modules" "$tree/dev" "$tree/root"
    cp "$root/bin/busybox" "$tree/"
    kernel=$(basename "$root"/lib/modules/*)
    for module in virtio_pci virtio_blk; do
        PATH=$PATH:/usr/sbin:/sbin chroot "$root" modprobe -S "$kernel" --show-depends "$module"
    done | sed -n 's/^insmod //p' > "$tree/list"
    [ -s "$tree/list" ] || fail "the kernel's package has no module virtio_blk"
    while read -r module; do
        cp "$root/$module" "$tree/modules/$((number++))"
    done < "$tree/list"
    cat > "$tree/init" << 'INIT'
#!/busybox sh
for module in /modules/*; do /busybox insmod "$module" 2> /dev/null; done
/busybox mount -t devtmpfs dev /dev
until [ -e /dev/vda ]; do /busybox usleep 10000; done
/busybox mount -t ext4 -o noatime,nobarrier,data=writeback,noinit_itable /dev/vda /root
/busybox umount /dev
# What the kernel does not know of its command line it hands on as variables.
exec /busybox switch_root /root "${first:-/sbin/init}"
INIT
    chmod 0755 "$tree/init"
    (cd "$tree" && find . | ./busybox cpio -o -H newc > "$cache/initrd.img" 2> /dev/null)
    rm -rf "$tree"
}

# The root file system, made anew whenever this file has changed; kernel and initial file system beside it.
make_root() {
    local mark
    mark=$(sed -n '/^packages/p;/^make_initial()/,/^}/p;/^make_root()/,/^}/p' "$0" | cksum)-$suite
    if [ "$(cat "$cache/mark" 2> /dev/null)" = "$mark" ]; then return; fi
    echo "vm: making the machine's root file system in $cache"
    rm -rf "$cache"/{root.img,vmlinuz,initrd.img,mark}
    local root unit
    # Not in the cache: there may be a quicker file system here (scratch.sh).
    root=$(mktemp -d /var/tmp/lxd-vm-root.XXXXXX)
    trap 'rm -rf "$root"' EXIT
    # The kernel's package insists on a maker of initial file systems, whose work is not needed and takes a quarter of the time.
    local path without=()
    for path in /usr/share/man /usr/share/doc /usr/share/locale /usr/share/zoneinfo /usr/lib/udev/hwdb.d /etc/kernel/postinst.d; do
        without+=("--dpkgopt=path-exclude=$path/*")
    done
    # shellcheck disable=SC2016 # for mmdebstrap's hooks
    fetch minbase "$packages" "$root" "${without[@]}" --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
        --essential-hook='mkdir -p "$1/etc/initramfs-tools"; echo update_initramfs=no > "$1/etc/initramfs-tools/update-initramfs.conf"' \
        --dpkgopt=force-confold ||
        skip "Debian's packages are not to be had: $(tail -n 1 "$cache/log")"
    mv "$root"/boot/vmlinuz-* "$cache/vmlinuz"
    make_initial
    rm -rf "$root"/boot/initrd* "$root"/var/lib/apt/lists "$root"/var/cache/apt
    # Whatever takes time and that no test needs. Besides, lxcfs mounts control groups without the bound to delegation (`nsdelegate`).
    for unit in lxcfs apparmor apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap fstrim.timer \
        getty@tty1 serial-getty@ttyS0 systemd-timesyncd systemd-update-utmp systemd-random-seed systemd-pcrphase systemd-journal-flush \
        systemd-networkd-wait-online networking dnsmasq logrotate.timer systemd-tmpfiles-clean.timer systemd-logind systemd-sysusers \
        systemd-udev-trigger systemd-machine-id-commit modprobe@dm_mod modprobe@fuse modprobe@loop modprobe@efi_pstore modprobe@drm \
        modprobe@configfs kmod-static-nodes; do
        case $unit in *.timer) ;; *) unit=$unit.service ;; esac
        ln -sf /dev/null "$root/etc/systemd/system/$unit"
    done
    echo testmachine > "$root/etc/hostname"
    echo "127.0.0.1 localhost testmachine" > "$root/etc/hosts"
    : > "$root/etc/fstab"
    echo fuse > "$root/etc/modules-load.d/fuse.conf"
    echo 0123456789abcdef0123456789abcdef > "$root/etc/machine-id"
    : > "$root/etc/subuid"
    : > "$root/etc/subgid"
    mkdir "$root/payload"
    cat > "$root/etc/systemd/system/payload.service" << 'UNIT'
[Unit]
After=multi-user.target
[Service]
Type=exec
ExecStartPre=mount -o noatime /dev/vdb /payload
ExecStart=/payload/run
ExecStopPost=-systemctl poweroff --force
StandardOutput=null
StandardError=null
TimeoutStartSec=infinity
Delegate=yes
UNIT
    mkdir -p "$root/etc/systemd/system/payload.target.wants"
    cat > "$root/etc/systemd/system/payload.target" << 'UNIT'
[Unit]
Requires=multi-user.target
After=multi-user.target
AllowIsolate=yes
UNIT
    ln -s ../payload.service "$root/etc/systemd/system/payload.target.wants/"
    ln -sf payload.target "$root/etc/systemd/system/default.target"
    # Process 1 for tests that need no systemd, which takes half of the time to boot.
    cat > "$root/sbin/first" << 'FIRST'
#!/bin/bash
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
# As systemd does.
mount -t cgroup2 -o nsdelegate,memory_recursiveprot cgroup2 /sys/fs/cgroup
mount -t securityfs securityfs /sys/kernel/security
mount -t devtmpfs dev /dev
mkdir /dev/pts /dev/shm
mount -t devpts -o gid=5,mode=620 devpts /dev/pts
mount -t tmpfs shm /dev/shm
mount -t tmpfs -o mode=755 run /run
ln -s /proc/self/fd /dev/fd
mount --make-rshared /
ip link set lo up
hostname -F /etc/hostname
mount -o noatime /dev/vdb /payload
/payload/run
exec busybox poweroff -f
FIRST
    chmod 0755 "$root/sbin/first"
    truncate -s 8G "$cache/root.img"
    # Without a journal, ext4 searches long for an inode that was not in use a minute ago.
    PATH=$PATH:/usr/sbin:/sbin mke2fs -q -t ext4 -J size=32 -E lazy_itable_init=1 -d "$root" "$cache/root.img" 2> "$cache/log" ||
        fail "mke2fs: $(tail -n 1 "$cache/log")"
    rm -rf "$root"
    trap - EXIT
    echo "$mark" > "$cache/mark"
}

# What changes with each run: programs, tests, and what these look for beside them, at the same paths.
make_payload() {
    local tree=$dir/payload here=$PWD file
    mkdir -p "$tree$here/target/debug/deps" "$tree$here/target/testkit" "$tree$here"/crates/{e2e,images,testkit/guest}
    cp -a scripts packaging "$tree$here/"
    # The program that looks for what a saved state lacks; there is no compiler in the machine.
    case " ${tests[*]}" in *' stateful'*) cargo test --locked --quiet -p testkit --lib guest_program > /dev/null ;; esac
    cp -a crates/testkit/guest/checker "$tree$here/crates/testkit/guest/"
    for file in target/testkit/checker target/testkit/debian-12; do
        [ ! -e "$file" ] || cp -a "$file" "$tree$here/target/testkit/"
    done
    [ ! -d /usr/local/libexec/lxd-criu ] || cp -a /usr/local/libexec/lxd-criu "$tree/criu"
    for file in "$bin"/{lxd,lxc,lxd-runtime}; do
        strip --strip-debug -o "$tree$here/target/debug/${file##*/}" "$file"
    done
    echo "ulimit -n 65536" > "$tree/commands"
    cp -a crates/images/src "$tree$here/crates/images/"
    if [ -n "$shell" ]; then
        printf '%s\n' "$shell" >> "$tree/commands"
    else
        add_tests "$tree$here/target/debug/deps"
    fi
    sed "s,@HERE@,$here,g" scripts/vm-run.sh > "$tree/run"
    chmod 0755 "$tree/run"
    local size
    size=$(du -sm "$tree" | cut -f1)
    truncate -s "$((size * 5 / 4 + 64))M" "$dir/payload.img"
    PATH=$PATH:/usr/sbin:/sbin mke2fs -q -t ext4 -O ^has_journal -d "$tree" "$dir/payload.img" 2> "$dir/log" || fail "mke2fs: $(tail -n 1 "$dir/log")"
    rm -rf "$tree"
}

# Puts the tests' program into a directory and its command lines into the payload.
add_tests() {
    local test name together=() alone=() program file
    for test in "${tests[@]}"; do
        name=${test%%:*}
        [ -e "crates/e2e/tests/$name.rs" ] || fail "there is no test crates/e2e/tests/$name.rs"
        test=${test#"$name"}
        case $name in
            # It installs the product on the machine itself and has to find nothing else of it there.
            systemd_unit) alone+=("$name::${test#:}") ;;
            *) together+=("$name::${test#:}") ;;
        esac
    done
    # The one compiled last. To ask cargo would compile it again after `make test`, which compiles through the linter's driver.
    program=""
    for file in "$bin"/deps/e2e-*; do
        if [ -x "$file" ] && { [ -z "$program" ] || [ "$file" -nt "$program" ]; } && [ -n "$("$file" --list 2> /dev/null | grep ': test$')" ]; then
            program=$file
        fi
    done
    [ -n "$program" ] || fail "the tests are not compiled: 'make test-vm' does that, too"
    strip --strip-debug -o "$1/${program##*/}" "$program"
    program=$PWD/target/debug/deps/${program##*/}
    if [ "${#together[@]}" != 0 ]; then
        echo "run_tests $program ${together[*]}" >> "$tree/commands"
    fi
    for test in "${alone[@]}"; do
        echo "run_tests $program $test" >> "$tree/commands"
    done
}

boot() {
    local status=0 options="console=ttyS0 quiet panic=-1 mitigations=off${first:+ first=$first}"
    # Programs at random addresses would be translated anew at each start, which takes most of the time; so does clearing memory twice.
    options+=" norandmaps transparent_hugepage=never init_on_alloc=0"
    # Snapshots: what is written goes to files without a name in TMPDIR.
    TMPDIR=$dir timeout --foreground --kill-after=10 "$limit" "${emulator[@]}" -M q35 -accel tcg,thread=multi,tb-size=512 -cpu max -m 2048 \
        -smp "$(($(nproc) > 4 ? 4 : $(nproc)))" -nodefaults -no-user-config -display none -no-reboot -device virtio-rng-pci \
        -kernel "$cache/vmlinuz" -initrd "$cache/initrd.img" -append "$options" \
        -drive "file=$cache/root.img,format=raw,if=virtio,snapshot=on,cache=unsafe" \
        -drive "file=$dir/payload.img,format=raw,if=virtio,snapshot=on,cache=unsafe" \
        -chardev "file,id=boot,path=$dir/boot.log" -serial chardev:boot \
        -chardev "file,id=out,path=$dir/out.fifo" -serial chardev:out > "$dir/log" 2>&1 < /dev/null || status=$?
    [ "$status" != 124 ] || echo "vm: ended after $limit s, which is the limit" >&2
}

dir="" shell="" first="" prepare=no
case ${1:-} in
    --brief) chosen=$brief first=/sbin/first && shift ;;
    --prepare) prepare=yes && shift ;;
    --shell) shell=${2:?the command is missing} && shift 2 ;;
    -*) fail "unknown option $1" ;;
esac
tests=("$@")
# shellcheck disable=SC2206 # words
[ "${#tests[@]}" != 0 ] || tests=($chosen)

[ "$(uname -m)" = x86_64 ] || skip "made for x86_64 only"
[ "$(id -u)" = 0 ] || fail "making a root file system takes root: run it with sudo"
# Programs compiled here run there only if its C library is not older.
suite=$(. /etc/os-release && [ "${ID:-}" = debian ] && echo "${VERSION_CODENAME:-}") || skip "the machine is made from Debian's packages, and this is not a Debian"
command -v mmdebstrap > /dev/null || skip "mmdebstrap is not installed"
# shellcheck disable=SC2016 # apt's own variables
mirror=$(apt-get indextargets --format '$(REPO_URI)|$(ORIGIN)|$(LABEL)' 'Created-By: Packages' | awk -F'|' '$2 == "Debian" && $3 == "Debian" { print $1; exit }')
[ -n "$mirror" ] || skip "no Debian mirror is in apt's sources"

began=$SECONDS
mkdir -p "$cache"
exec 9> "$cache/lock"
flock 9
find_emulator
make_root
flock -u 9
if [ "$prepare" = yes ]; then
    echo "vm: prepared in $((SECONDS - began)) s"
    exit 0
fi
dir=$(mktemp -d /var/tmp/lxd-vm.XXXXXX)
trap 'rm -rf "$dir"' EXIT
made=$SECONDS
make_payload
mkfifo "$dir/out.fifo"
booted=$SECONDS
# The last line is the status; all others are for whoever waits.
sed -u -n '/^VM-STATUS /{s/^VM-STATUS //;w '"$dir/status"'
d};p' < "$dir/out.fifo" | tee "$dir/output" &
reader=$!
boot
# An emulator that did not start has not opened it, and the reader would wait for that.
exec 8<> "$dir/out.fifo" 8>&-
wait "$reader"
status=$(cat "$dir/status" 2> /dev/null || true)
if [ -z "$status" ]; then
    echo "vm: the machine ended without a result; the end of its log:" >&2
    tail -n 30 "$dir/boot.log" "$dir/log" >&2
    status=1
fi
# A filter that fits nothing shows nothing.
if [ -z "$shell" ] && grep -q '^running 0 tests' "$dir/output"; then
    echo "vm: there are no such tests: ${tests[*]}" >&2
    status=1
fi
scripts/skips.sh "$dir/output" > "$dir/log" || { status=1 && grep '^NOT' "$dir/log"; }
echo "vm: image $((made - began)) s, programs $((booted - made)) s, machine $((SECONDS - booted)) s"
exit "$status"
