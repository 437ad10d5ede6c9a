//! The walk through the API that every tutorial does, with nothing but curl and jq.

use testkit::{Options, Sandbox};

/// What each step begins with: `api VERB PATH [curl's arguments]` and `wait_for`, which takes such a reply
/// and waits for its operation.
const TOOLS: &str = r#"
set -euo pipefail
api() {
    local verb=$1 path=$2
    shift 2
    curl --silent --unix-socket "$LXD_DIR/unix.socket" --request "$verb" "http://lxd$path" "$@"
}
is() { jq --exit-status "$1" > /dev/null || { echo "not so: $1" >&2; return 1; }; }
wait_for() {
    local reply operation
    reply=$(cat)
    operation=$(jq --raw-output .operation <<< "$reply")
    is '.type == "async" and .status == "Operation created" and .status_code == 100' <<< "$reply"
    api GET "$operation/wait" | is '.metadata.status == "Success" and .metadata.status_code == 200 and .metadata.err == ""'
}
"#;

#[test]
fn the_tutorials_walk() {
    let Some(sandbox) = Sandbox::start("the_tutorials_walk", Options::default()) else { return };
    sandbox.build_busybox();
    let step = |script: &str| sandbox.sh_ok(&format!("{TOOLS}{script}"));

    step(
        r#"api GET / | is '.metadata == ["/1.0"] and .type == "sync" and .status == "Success" and .status_code == 200'
api GET /1.0 | is '.metadata | .api_version == "1.0" and .api_status == "stable" and .auth == "trusted" and .public == false'
api GET /1.0 | is '.metadata.environment | .server == "lxd" and .kernel == "Linux" and (.architectures | length > 0)'
api PATCH /1.0 -d '{"config": {"images.remote_cache_expiry": "5"}}' | is '.status_code == 200'
api GET /1.0 | is '.metadata.config["images.remote_cache_expiry"] == "5"'
api PUT /1.0 -d '{"config": {}}' | is '.status_code == 200'
api GET /1.0 | is '.metadata.config | has("images.remote_cache_expiry") | not'"#,
    );

    step(
        r#"body='{"name": "xenial", "source": {"type": "image", "alias": "busybox"}}'
api POST /1.0/containers -d "$body" | wait_for
api GET /1.0/containers | is '.metadata == ["/1.0/containers/xenial"]'
api GET /1.0/containers/xenial | is '.metadata | .name == "xenial" and .status == "Stopped" and .status_code == 102 and .profiles == ["default"]'
api PUT /1.0/containers/xenial/state -d '{"action": "start", "timeout": 30}' | wait_for
api GET /1.0/containers/xenial | is '.metadata.status == "Running" and .metadata.status_code == 103'
address() { api GET /1.0/containers/xenial/state | jq --raw-output '.metadata.network.eth0.addresses[] | select(.family == "inet" and .scope == "global") | .address'; }
for try in $(seq 100); do [ -z "$(address)" ] || break; sleep 0.1; done
[[ $(address) == 10.* ]]
api GET /1.0/containers/xenial/state | is '.metadata | .status == "Running" and .pid > 1 and .processes > 0 and .memory.usage > 0 and .cpu.usage > 0'"#,
    );

    step(
        r#"api GET '/1.0/containers/xenial/files?path=/etc/hostname' | grep -qx xenial
api GET '/1.0/containers/xenial/files?path=/etc/hostname' --dump-header - --output /dev/null | tr -d '\r' | grep -qi '^x-lxd-mode: 0644$'
printf hello | api POST '/1.0/containers/xenial/files?path=/root/hello' --data-binary @- -H 'X-LXD-mode: 0600' -H 'X-LXD-uid: 7' | is '.status_code == 200'
[ "$(api GET '/1.0/containers/xenial/files?path=/root/hello')" = hello ]
lxc exec xenial -- stat -c '%u %a' /root/hello | grep -qx '7 600'"#,
    );

    step(
        r#"api POST /1.0/containers/xenial/snapshots -d '{"name": "my-snapshot", "stateful": false}' | wait_for
api GET /1.0/containers/xenial/snapshots | is '.metadata == ["/1.0/containers/xenial/snapshots/my-snapshot"]'
api GET /1.0/containers/xenial/snapshots/my-snapshot | is '.metadata | .name == "xenial/my-snapshot" and .stateful == false
    and .architecture == "x86_64" and .ephemeral == false and .profiles == ["default"] and .devices == {}
    and (.expanded_devices | has("root") and has("eth0")) and (.created_at | startswith("20")) and .expires_at == "0001-01-01T00:00:00Z"
    and (.config["volatile.base_image"] | length == 64) and (.expanded_config | length > 0)'"#,
    );

    step(
        r#"api PUT /1.0/containers/xenial/state -d '{"action": "stop", "force": true}' | wait_for
api GET /1.0/containers/xenial/state | is '.metadata | .status == "Stopped" and .pid == 0'
api DELETE /1.0/containers/xenial | wait_for
[ "$(api GET /1.0/containers/xenial)" = '{"error":"not found","error_code":404,"type":"error"}' ]
[ "$(api GET /1.0/containers/xenial --output /dev/null --write-out '%{http_code}')" = 404 ]
api GET /1.0/containers | is '.metadata == []'"#,
    );
    sandbox.finish();
}
