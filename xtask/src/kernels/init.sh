#!/bin/busybox sh
# The first program of a machine that `cargo xtask kernels` boots. It mounts the file system of the machine around
# (read only, by 9p), so that tests find there what they find outside: their binaries, libraries, compilers, Pythons.
# What is written lies in memory, and results in the folder that is mounted writable.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r module; do
    insmod "/modules/$module.ko" || echo "warplens: cannot insert $module"
done < /modules/order
mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=524288,cache=loose host /around ||
    echo "warplens: cannot mount the file system of the machine around"
for folder in proc sys dev; do mount --move /$folder /around/$folder; done
for folder in tmp run var/tmp; do mount -t tmpfs -o mode=1777 tmpfs /around/$folder; done
mount -t debugfs debugfs /around/sys/kernel/debug
mount -t tracefs tracefs /around/sys/kernel/tracing
mount -t bpf bpf /around/sys/fs/bpf
mkdir -p /around/dev/shm /around/dev/pts
mount -t tmpfs -o mode=1777 tmpfs /around/dev/shm
mount -t devpts devpts /around/dev/pts
ifconfig lo 127.0.0.1 up
mkdir /around/run/kernels /around/run/kernels/out
mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288,cache=none out /around/run/kernels/out ||
    echo "warplens: cannot mount the folder for results"
cp /steps.sh /around/run/kernels/steps.sh
cat > /around/run/kernels/all.sh <<'ALL'
bash /run/kernels/steps.sh /run/kernels/out
sync
# Ends the emulator, which does not start the machine again.
echo b > /proc/sysrq-trigger
ALL
exec switch_root /around /bin/sh /run/kernels/all.sh
