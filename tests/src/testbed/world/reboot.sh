# What a host loses when its power goes: its processes, what it held in memory, and of its kernel's
# networks all but the uplink. What is on its disk stays.
#
# Arguments: the host's directory, the name of the uplink. Runs inside the host's world.
set -u
dir=$1 uplink=$2

# All but the first process and this one.
kill -KILL -1
for _ in {1..100}; do
  processes=(/proc/[0-9]*)
  ((${#processes[@]} <= 2)) && break
  sleep 0.1
done
((${#processes[@]} <= 2)) || exit

for _ in {1..100}; do
  mapfile -t mounts </proc/self/mountinfo
  left=
  for ((i = ${#mounts[@]} - 1; i >= 0; i--)); do
    read -r _ _ _ _ point _ <<<"${mounts[i]}"
    case $point in
      /run/* | "$dir"/docker/data/* | "$dir"/host-run/*) left=1 && umount --lazy "$point" ;;
    esac
  done
  [[ $left ]] || break
done
rm -rf --one-file-system /run/*
mkdir -p /run/{docker/plugins,containerd,lock,weft}

nft flush ruleset
for family in -4 -6; do
  tables=$(ip "$family" rule | sed -n 's/.* lookup \([0-9]*\).*/\1/p' | sort -u)
  for table in $tables; do
    ip "$family" route flush table "$table"
  done
  ip "$family" rule flush
  ip "$family" rule add from all lookup main priority 32766
done
for link in $(ip -o link | sed 's/^[0-9]*: \([^:@]*\).*/\1/'); do
  [[ $link == lo || $link == "$uplink" ]] || ip link delete "$link" 2>/dev/null
done
links=$(ip -o link | wc -l)
[[ $links == 2 ]]
