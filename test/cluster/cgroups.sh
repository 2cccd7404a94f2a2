# shellcheck shell=bash
# cgroups.sh - the cluster's control groups: one group /<cluster> in every hierarchy, on cgroup v1, v2 and the hybrid of both. The
# control plane is in its leaf `system`, pods are in `kubepods` beside it, so membership tells what belongs to the cluster even when
# everything else about it is lost.

# cgroup_hierarchies - the mount points of all hierarchies.
cgroup_hierarchies() { awk '$3 == "cgroup" || $3 == "cgroup2" { print $2 }' /proc/self/mounts | sort -u; }

# cgroup_create - makes the groups. Needs write access to /sys/fs/cgroup.
cgroup_create() {
  local root
  while read -r root; do
    if [ -f "$root/cgroup.controllers" ]; then
      cgroup_delegate "$root"
      mkdir -p "$root/$FMO_CLUSTER"
      cgroup_delegate "$root/$FMO_CLUSTER"
      mkdir -p "$root/$FMO_CLUSTER/system"
    else
      cgroup_create_v1 "$root" "$root/$FMO_CLUSTER" "$root/$FMO_CLUSTER/system"
    fi
  done < <(cgroup_hierarchies)
}

# A new v1 cpuset is empty and takes no process before it has processors and memory nodes.
cgroup_create_v1() {
  local parent=$1 group file
  shift
  for group in "$@"; do
    mkdir -p "$group"
    for file in cpuset.cpus cpuset.mems; do
      [ -f "$group/$file" ] && [ -z "$(cat "$group/$file")" ] && cat "$parent/$file" >"$group/$file"
    done
    parent=$group
  done
}

# On v2 children get a controller only when the parent hands it down, and a group other than the true root may do so only when it has
# no processes itself. In a container the visible root is not the true one, so its processes then move to a leaf, as systemd would do.
cgroup_delegate() {
  local group=$1 controller pid
  for controller in $(<"$group/cgroup.controllers"); do
    grep -qw "$controller" "$group/cgroup.subtree_control" && continue
    if ! echo "+$controller" 2>/dev/null >"$group/cgroup.subtree_control"; then
      mkdir -p "$group/init"
      while read -r pid; do echo "$pid" 2>/dev/null >"$group/init/cgroup.procs" || true; done <"$group/cgroup.procs"
      # One that still cannot be handed down (a threaded or real-time group) is not needed by every cluster: the kubelet will tell.
      echo "+$controller" 2>/dev/null >"$group/cgroup.subtree_control" || true
    fi
  done
}

# cgroup_join - moves this process (and so what it starts) into the cluster.
cgroup_join() {
  local root
  while read -r root; do
    echo "$BASHPID" >"$root/$FMO_CLUSTER/system/cgroup.procs"
  done < <(cgroup_hierarchies)
}

# cgroup_processes - all processes in the cluster's groups, pods included.
cgroup_processes() {
  local root
  while read -r root; do
    [ -d "$root/$FMO_CLUSTER" ] && find "$root/$FMO_CLUSTER" -name cgroup.procs -exec cat {} + 2>/dev/null
  done < <(cgroup_hierarchies) | sort -un
}

# cgroup_kill - kills everything in the groups; fails when something is left after 10 s. A frozen v1 group is thawed first: its processes
# would not die.
cgroup_kill() {
  local root
  while read -r root; do
    [ -d "$root/$FMO_CLUSTER" ] || continue
    find "$root/$FMO_CLUSTER" -name freezer.state -exec sh -c 'echo THAWED >"$1"' _ {} \; 2>/dev/null || true
    find "$root/$FMO_CLUSTER" -name cgroup.freeze -exec sh -c 'echo 0 >"$1"' _ {} \; 2>/dev/null || true
  done < <(cgroup_hierarchies)
  within 10 cgroup_kill_once
}
cgroup_kill_once() {
  local pids
  pids=$(cgroup_processes)
  [ -z "$pids" ] && return 0
  # shellcheck disable=SC2086  # a list of numbers
  kill -KILL $pids 2>/dev/null || true
  return 1
}

# cgroup_remove - removes the (empty) groups; fails when one is still there after 10 s.
cgroup_remove() { within 10 cgroup_remove_once; }
cgroup_remove_once() {
  local root left=0
  while read -r root; do
    [ -d "$root/$FMO_CLUSTER" ] || continue
    find "$root/$FMO_CLUSTER" -depth -type d -exec rmdir {} + 2>/dev/null || true
    [ ! -d "$root/$FMO_CLUSTER" ] || left=1
  done < <(cgroup_hierarchies)
  return $left
}
