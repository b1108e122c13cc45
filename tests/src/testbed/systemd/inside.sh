# Becomes systemd, as the first process of a host. What it and its services write is in memory;
# the units it knows are the ones given, and the targets that they name.
#
# Arguments: the cgroup tree, the directory of units, the program to install. Prints the process id
# as the test sees it.
set -eu
tree=$1 units=$2 program=$3
read -r pid _ </proc/self/stat

mount -t proc proc /proc
# In the tree that this world sees, systemd is at the root.
case $tree in
  */systemd)
    mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
    mkdir /sys/fs/cgroup/systemd
    mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
    ;;
  *) mount -t cgroup2 cgroup2 /sys/fs/cgroup ;;
esac
for place in /run /var/lib; do
  mount -t tmpfs -o mode=755 tmpfs "$place"
done
mkdir /run/bin
cp "$program" /run/bin/weft
mount --bind /run/bin /usr/local/bin

echo "$pid"
exec env -i PATH="$PATH" container=weft SYSTEMD_UNIT_PATH="$units" SYSTEMD_LOG_TARGET=console \
  /lib/systemd/systemd --system --unit=multi-user.target --show-status=no \
  --default-standard-output=inherit --default-standard-error=inherit >&2
