# What a program does with pylxd: each step checks what it got. Run by pylxd.rs in a sandbox.
import os
import pathlib
import threading

import pylxd
from pylxd.exceptions import LXDAPIException, NotFound

client = pylxd.Client()
assert client.trusted and client.host_info["api_version"] == "1.0"
assert client.has_api_extension("instances")


def walk_instances():
    source = {"type": "image", "alias": "busybox"}
    c1 = client.instances.create({"name": "c1", "source": source, "config": {"user.a": "1"}}, wait=True)
    assert c1.status == "Stopped" and c1.config["user.a"] == "1" and c1.type == "container", c1.status
    assert client.instances.exists("c1") and not client.instances.exists("c2")
    c1.start(wait=True)
    assert c1.status == "Running"
    state = c1.state()
    assert state.pid > 1 and state.processes > 0 and "eth0" in state.network, state
    c1.freeze(wait=True)
    assert c1.status == "Frozen"
    c1.unfreeze(wait=True)

    done = c1.execute(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (done.exit_code, done.stdout, done.stderr) == (3, "out\n", "err\n"), done
    done = c1.execute(["cat"], stdin_payload="piped\n")
    assert (done.exit_code, done.stdout) == (0, "piped\n"), done
    done = c1.execute(["sh", "-c", "id -u; pwd; echo $X"], environment={"X": "y"}, user=5, cwd="/etc")
    assert done.stdout == "5\n/etc\ny\n", done
    sockets = c1.raw_interactive_execute(["sh"])
    assert sockets["ws"].startswith("/1.0/operations/") and sockets["control"]

    c1.files.put("/root/f", b"content", mode=0o640, uid=3, gid=4)
    assert c1.files.get("/root/f") == b"content"
    assert c1.execute(["stat", "-c", "%u %g %a", "/root/f"]).stdout == "3 4 640\n"
    c1.files.mk_dir("/root/d", mode=0o755)
    here = pathlib.Path(os.environ["SANDBOX_DIR"]) / "pushed"
    (here / "sub").mkdir(parents=True)
    (here / "sub" / "file").write_text("deep")
    c1.files.recursive_put(str(here), "/root/d")
    assert c1.files.get("/root/d/sub/file") == b"deep"
    c1.files.recursive_get("/root/d", str(here) + "-back")
    assert pathlib.Path(str(here) + "-back/sub/file").read_text() == "deep"
    c1.files.delete("/root/f")
    try:
        c1.files.get("/root/f")
        raise AssertionError("the file is still there")
    except NotFound:
        pass

    c1.description = "described"
    c1.config["user.b"] = "2"
    c1.save(wait=True)
    again = client.instances.get("c1")
    assert again.description == "described" and again.config["user.b"] == "2"
    c1.devices["zero"] = {"type": "unix-char", "path": "/dev/zero"}
    c1.save(wait=True)
    assert "zero" in client.instances.get("c1").devices
    assert [one.name for one in client.instances.all(recursion=1)] == ["c1"]
    assert [one.name for one in client.containers.all()] == ["c1"]

    snapshot = c1.snapshots.create("s0", wait=True)
    assert snapshot.name == "s0" and [one.name for one in c1.snapshots.all()] == ["s0"]
    c1.execute(["rm", "-r", "/root/d"])
    c1.restore_snapshot("s0", wait=True)
    assert c1.files.get("/root/d/sub/file") == b"deep"
    snapshot.rename("s1", wait=True)
    c1.snapshots.get("s1").delete(wait=True)
    assert c1.snapshots.all() == []

    c1.stop(force=True, wait=True)
    copy = client.instances.create({"name": "c2", "source": {"type": "copy", "source": "c1"}}, wait=True)
    copy.rename("c3", wait=True)
    assert not client.instances.exists("c2") and client.instances.exists("c3")
    image = c1.publish(wait=True)
    assert image.size > 0
    image.delete(wait=True)
    for name in ["c1", "c3"]:
        client.instances.get(name).delete(wait=True)
    assert client.instances.all() == []


def walk_images():
    image = client.images.get_by_alias("busybox")
    assert client.images.exists("busybox", alias=True) and client.images.exists(image.fingerprint)
    image.add_alias("second", "another name")
    image.delete_alias("second")
    image.properties["note"] = "mine"
    image.save(wait=True)
    assert client.images.get(image.fingerprint).properties["note"] == "mine"
    content = image.export().read()
    image.delete(wait=True)
    again = client.images.create(content, wait=True)
    assert again.fingerprint == image.fingerprint
    again.add_alias("busybox", "")


def walk_profiles():
    profile = client.profiles.create("p1", config={"user.p": "1"}, devices={})
    profile.description = "described"
    profile.save(wait=True)
    profile = client.profiles.get("p1")
    assert profile.description == "described" and profile.config == {"user.p": "1"}
    profile.rename("p2")
    assert client.profiles.exists("p2") and not client.profiles.exists("p1")
    client.profiles.get("p2").delete()
    try:
        client.profiles.create("", config={})
        raise AssertionError("a profile without a name")
    except LXDAPIException:
        pass


def walk_networks():
    network = client.networks.create("br1", config={"ipv4.address": "10.66.0.1/24", "ipv6.address": "none"})
    network.config["ipv4.nat"] = "false"
    network.save(wait=True)
    assert client.networks.get("br1").config["ipv4.nat"] == "false"
    network = client.networks.get("br1")
    network.rename("br2")
    assert "br2" in [one.name for one in client.networks.all()]
    client.networks.get("br2").delete(wait=True)
    assert not client.networks.exists("br2")


def walk_pools():
    pool = client.storage_pools.create({"name": "second", "driver": "dir", "config": {}})
    pool.description = "described"
    pool.save()
    assert client.storage_pools.get("second").description == "described"
    volume = pool.volumes.create({"name": "v1", "type": "custom", "config": {"user.a": "1"}})
    volume.config["user.b"] = "2"
    volume.save()
    assert pool.volumes.get("custom", "v1").config == {"user.a": "1", "user.b": "2"}
    assert [(one.type, one.name) for one in pool.volumes.all()] == [("custom", "v1")]
    snapshot = volume.snapshots.create("s0")
    assert snapshot.name == "s0" and volume.snapshots.all() == ["s0"]
    volume.restore_from("s0", wait=True)
    snapshot.rename("s1")
    volume.snapshots.get("s1").delete(wait=True)
    assert volume.snapshots.all() == []
    volume.rename({"name": "v2", "pool": "second"}, wait=True)
    volume.rename({"name": "v3", "pool": "default"}, wait=True)
    assert pool.volumes.all() == []
    client.storage_pools.get("default").volumes.get("custom", "v3").delete()
    pool.delete()
    assert not client.storage_pools.exists("second")


def walk_events():
    seen = []
    everything = threading.Event()
    events = client.events(event_types={pylxd.EventType.Lifecycle, pylxd.EventType.Operation})

    def received(message):
        import json

        event = json.loads(str(message))
        seen.append((event["type"], event["metadata"].get("action", event["metadata"].get("description"))))
        if {"instance-created", "instance-deleted"} <= {action for _, action in seen}:
            everything.set()

    events.received_message = received
    events.connect()
    threading.Thread(target=events.run, daemon=True).start()
    instance = client.instances.create({"name": "e1", "source": {"type": "none"}}, wait=True)
    instance.delete(wait=True)
    assert everything.wait(20), seen
    assert ("operation", "Creating instance") in seen, seen
    events.close()


for step in [walk_instances, walk_images, walk_profiles, walk_networks, walk_pools, walk_events]:
    step()
    print("passed", step.__name__)
