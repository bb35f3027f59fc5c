#!/bin/sh
# mpi_hosts.sh EMR EMR_MPI - `emr-mpi merge` on four hosts with addresses of their own: network namespaces on a bridge, between
# which nothing but TCP passes. Needs root, ip, unshare and Open MPI's mpirun; where one is missing it says so: status 77.
set -eu
emr=$(realpath "$1") emr_mpi=$(realpath "$2")
hosts="1 2 3 4"

cannot() {
    echo "emr-mpi is not tested on several hosts: $1"
    exit 77
}
for tool in ip unshare mpirun python3; do
    command -v $tool >/dev/null || cannot "$tool is not there"
done
mpirun --version | grep -q Open || cannot "mpirun is not Open MPI's"
id=$$ # of names, which other runs may have, too
net=10.$((id / 250 % 250)).$((id % 250))
work=$(mktemp -d)
clean() {
    for h in $hosts; do ip netns delete emr-$id-"$h" 2>/dev/null || true; done
    ip link delete emr-$id 2>/dev/null || true
    rm -rf "$work"
}
trap clean EXIT
trap 'exit 1' INT TERM

ip link add emr-$id type bridge 2>/dev/null || cannot "no bridge can be made: not root, or not allowed"
ip address add "$net.254/24" dev emr-$id
ip link set emr-$id up
for h in $hosts; do
    ip netns add emr-$id-"$h" 2>/dev/null || cannot "no network namespace can be made"
    ip link add e$id.b"$h" type veth peer name eth0 netns emr-$id-"$h"
    ip link set e$id.b"$h" master emr-$id up
    ip -n emr-$id-"$h" address add "$net.$h/24" dev eth0
    ip -n emr-$id-"$h" link set eth0 up
    ip -n emr-$id-"$h" link set lo up
done

cd "$work"
# In ssh's place: HOST COMMAND..., with a name of its own for each host.
cat >reach <<END
#!/bin/sh
host=\${1##*.}
shift
exec ip netns exec emr-$id-\$host unshare --uts sh -c "hostname host\$host; \$*"
END
chmod +x reach
python3 - <<'END'
import json, pathlib, random, struct
values = random.Random(1)
def save(path, tensors):
    header, data = {}, b""
    for name, (shape, v) in tensors.items():
        raw = struct.pack(f"<{len(v)}f", *v)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    pathlib.Path(path).write_bytes(struct.pack("<Q", len(text)) + text + data)
for name in ("base", "french", "german"):
    save(f"{name}.safetensors", {"a": ([1000, 200], [values.random() for _ in range(200000)]), "b": ([9], [1.0] * 9)})
END
set -- merge --base base.safetensors --task french.safetensors --task german.safetensors --block-params 4K --threads 1
"$emr" "$@" -o whole.emr >/dev/null

failed=0
mpi() { # ranks a host; then words
    each=$1
    shift
    list=""
    for h in $hosts; do list="$list,$net.$h:$each"; done
    mpirun --allow-run-as-root --oversubscribe --mca plm_rsh_agent "$work/reach" --mca btl tcp,self \
        --mca btl_tcp_if_include "$net.0/24" --mca oob_tcp_if_include "$net.0/24" --host "${list#,}" "$@"
}
check() { # what, whether
    if [ "$2" = 0 ]; then echo "ok: $1"; else echo "FAILED: $1" && failed=1; fi
}

names=$(mpi 1 hostname | sort | tr '\n' ' ')
[ "$names" = "host1 host2 host3 host4 " ] && there=0 || there=1
check "four hosts: $names" $there
for each in 1 2; do
    mpi $each "$emr_mpi" "$@" -o "$each.emr" --quiet && cmp whole.emr "$each.emr" && same=0 || same=1
    check "$each ranks on each of them make the bundle of one machine" $same
done

# A host that is cut off in the middle: its processes die, and the run ends; the next one takes up what is done.
(
    while [ "$(ls cut.emr.parts 2>/dev/null | wc -l)" -lt 5 ]; do sleep 0.01; done
    ip netns pids emr-$id-3 | xargs -r kill -9
) &
if mpi 1 "$emr_mpi" "$@" -o cut.emr --parts 400 2>log; then status=1; else status=0; fi
wait
check "a host that dies ends the run" $status
n=$(ls cut.emr.parts | wc -l)
mpi 1 "$emr_mpi" "$@" -o cut.emr 2>log && cmp whole.emr cut.emr && grep -q "$n of 400 parts were done" log && same=0 || same=1
check "the next run takes up $n of 400 parts" $same
exit $failed
