#!/bin/bash
# Makes target/lxd-rs_VERSION_ARCH.deb from the release binaries.
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
arch=$(dpkg --print-architecture)
tree=$(mktemp -d target/deb.XXXXXX)
trap 'rm -rf "$tree"' EXIT
chmod 0755 "$tree"

make --no-print-directory install DESTDIR="$tree" PREFIX=/usr SYSTEMD_DIR=/lib/systemd/system > /dev/null

doc=$tree/usr/share/doc/lxd-rs
install -d "$doc" "$tree/DEBIAN" "$tree/usr/libexec/lxd"
install -m 0644 README.md "$doc/"
cat > "$doc/copyright" << END
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/

Files: *
License: Apache-2.0
 On Debian systems the full text is in /usr/share/common-licenses/Apache-2.0.
END
chmod 0644 "$doc/copyright"
install -m 0755 packaging/configure-host.sh "$tree/usr/libexec/lxd/configure-host"

# Named apart from the distribution's own `lxd`, whose higher version would otherwise replace it at the
# next upgrade. The C library that the binaries were linked with is the oldest that they run with.
glibc=$(dpkg-query --show --showformat='${Version}' libc6 | sed 's/-.*//')
seccomp=$(dpkg-query --show --showformat='${Version}' libseccomp2 | sed 's/-.*//')
cat > "$tree/DEBIAN/control" << END
Package: lxd-rs
Version: $version
Architecture: $arch
Maintainer: LXD authors <root@localhost>
Section: admin
Priority: optional
Installed-Size: $(du -sk "$tree/usr" | cut -f1)
Depends: libc6 (>= $glibc), libgcc-s1, libseccomp2 (>= $seccomp), dnsmasq-base, iproute2, nftables, passwd, rsync, squashfs-tools, uidmap
Recommends: apparmor, btrfs-progs, busybox-static, lxcfs, mmdebstrap
Suggests: criu (>= 4.2)
Conflicts: lxd, lxd-client
Replaces: lxd, lxd-client
Provides: lxd, lxd-client
Description: system container manager with a REST API
 Runs whole Linux distributions as unprivileged containers: images, snapshots,
 storage pools, managed networks and live control over a REST API that is
 compatible with LXD's, with the daemon lxd and the command line lxc.
END
cat > "$tree/DEBIAN/postinst" << 'END'
#!/bin/sh
set -e
if [ "$1" = configure ]; then
    /usr/libexec/lxd/configure-host
    if [ -d /run/systemd/system ] && [ -n "$2" ]; then
        # An upgrade: containers go on under the new daemon.
        systemctl try-restart lxd.service || true
    fi
fi
END
cat > "$tree/DEBIAN/prerm" << 'END'
#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    # Stops the containers cleanly, then the daemon.
    systemctl disable --now lxd-containers.service lxd.service lxd.socket lxd-guests.service || true
fi
END
cat > "$tree/DEBIAN/postrm" << 'END'
#!/bin/sh
set -e
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || true
fi
if [ "$1" = purge ]; then
    rm -rf /var/log/lxd
    if [ -d /var/lib/lxd ]; then
        echo "Containers and images are kept in /var/lib/lxd; remove it by hand if you no longer want them." >&2
    fi
fi
END
chmod 0755 "$tree"/DEBIAN/{postinst,prerm,postrm}

deb=target/lxd-rs_${version}_$arch.deb
dpkg-deb --root-owner-group --build "$tree" "$deb" > /dev/null
echo "made $deb"
