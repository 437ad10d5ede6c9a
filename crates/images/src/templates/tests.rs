//! Golden tests of templates, and attacks through them.

use super::render::{Failure, Scope, render};
use super::*;

fn context() -> TemplateContext {
    TemplateContext {
        name: "c1".to_owned(),
        architecture: "x86_64".to_owned(),
        config: BTreeMap::from([
            ("user.user-data".to_owned(), "#cloud-config\npackages: [a]\r\n\n".to_owned()),
            ("user.key".to_owned(), "<value>".to_owned()),
            ("user.big".to_owned(), "x".repeat(1 << 19)),
        ]),
        devices: BTreeMap::from([("eth0".to_owned(), BTreeMap::from([("type".to_owned(), "nic".to_owned())]))]),
        ..TemplateContext::default()
    }
}

fn try_render(source: &str) -> std::result::Result<String, Failure> {
    let properties = BTreeMap::from([("default".to_owned(), "#cloud-config\n{}".to_owned()), ("empty".to_owned(), String::new())]);
    render(source, &Scope { trigger: "create", path: "/etc/x", context: &context(), properties: &properties })
}

fn ok(source: &str) -> String {
    match try_render(source) {
        Ok(text) => text,
        Err(failure) => panic!("{source}: {failure:?}"),
    }
}

fn refused(source: &str) {
    assert!(matches!(try_render(source), Err(Failure::Parse(_))), "{source}: {:?}", try_render(source));
}

#[test]
fn what_images_use() {
    let golden = [
        ("{{ container.name }}\n", "c1\n"),
        ("{{container.privileged}} {{ instance.name }}", "false c1"),
        (
            "instance-id: {{ container.name }}\nlocal-hostname: {{ container.name }}\n{{ config_get(\"user.meta-data\", \"\") }}\n",
            "instance-id: c1\nlocal-hostname: c1\n\n",
        ),
        ("{{ config_get(\"user.user-data\", properties.default) }}", "#cloud-config\npackages: [a]"),
        ("{{ config_get(\"user.vendor-data\", properties.default) }}\n", "#cloud-config\n{}\n"),
        ("{{ config_get('user.none', 'x') }}|{{ config_get(\"user.none\") }}|", "x||"),
        (
            "{% if config_get(\"user.network-config\", \"\") == \"\" %}version: 1{% else %}{{ config_get(\"user.network-config\", \"\") }}{% endif %}",
            "version: 1",
        ),
        ("{% if trigger == \"create\" %}new{% elif trigger == 'copy' %}copied{% endif %} {{ path }}", "new /etc/x"),
        ("{{ properties.nothing|default:\"it's\" }} {{ properties.empty|default:properties.default }}", "it's #cloud-config\n{}"),
        ("{{ container.name|upper|default:\"x\" }} {{ 'a b'|capfirst }} {{ \"a b\"|title }}", "C1 A b A B"),
        ("{% for key, value in config %}{{ key }}={{ value|length }};{% endfor %}", "user.big=524288;user.key=7;user.user-data=30;"),
        ("{% for name, device in devices sorted %}{{ forloop.Counter }}{{ name }}:{{ device.type }}{% endfor %}", "1eth0:nic"),
        ("{% for x in properties.nothing %}{{ x }}{% empty %}none{% endfor %}", "none"),
        ("a{# a {{ comment }} #}b{% comment %}{{ broken {% endif %}{% endcomment %}c", "abc"),
        ("{% if !container.none && container.name || false %}yes{% endif %}", "yes"),
        ("{% if not container.none and container.name != \"c2\" %}yes{%- endif -%}\n", "yes"),
        ("{% ifequal trigger \"create\" %}same{% else %}other{% endifequal %}", "same"),
        ("{{ config[\"user.key\"] }} {{ missing.deeper.still }}{{ 1 + 2 }}", "<value> 3"),
        ("{{ true }}{{ nil }}", "True"),
        ("text { with } braces {\n{ % }", "text { with } braces {\n{ % }"),
        ("{{ container.name|cut:\"1\" }} {{ \"a,b\"|split:\",\"|join:\"-\" }} {{ true|yesno:\"ja,nein\" }}", "c a-b ja"),
        ("line\n\n", "line\n\n"),
        ("{% with a=container.name b = \"x\"|upper %}{{ a }}{{ b }}{% endwith %}{{ a }}", "c1X"),
        ("{% with container.name|upper as a %}{{ a }}{% endwith %}", "C1"),
        ("{%- with a=1 + 2 -%} {{ a == 3 }} {%- endwith %}", "True"),
        ("{% with l=path|split:\"/\" %}{% for part in l %}<{{ part }}>{% endfor %}{% endwith %}", "<><etc><x>"),
        ("{% autoescape off %}{{ config[\"user.key\"] }}{% endautoescape %}", "<value>"),
        (
            "{% autoescape on %}{{ config[\"user.key\"] }} {{ config[\"user.key\"]|safe }} {{ '<'|escape }}{% endautoescape %}",
            "&lt;value&gt; <value> &lt;",
        ),
        ("{% firstof properties.none properties.empty container.name \"x\" %}|{% firstof nil properties.empty %}|", "c1||"),
        ("{%- firstof 0 \"y\"|upper -%} ", "Y"),
        ("{% spaceless %}<a>\n  <b> x </b>\n</a>{% endspaceless %}", "<a><b> x </b></a>"),
        ("{% verbatim %}{{ x }} {% if %} {# #}{% endverbatim %}!", "{{ x }} {% if %} {# #}!"),
        ("{{ 1|add:2 }} {{ \"a\"|add:\"b\" }} {{ \"4\"|add:5 }}", "3 ab 9"),
        ("{{ \"abcdef\"|slice:\"1:3\" }} {{ \"abcdef\"|slice:\"-2:\" }} {{ \"a,b,c\"|split:\",\"|slice:\":2\"|join:\"+\" }}", "bc ef a+b"),
        ("{{ 7|stringformat:\"%03d\" }} {{ \"x\"|stringformat:\"<%-3s>\" }} {{ 255|stringformat:\"%x\" }}", "007 <x  > ff"),
        ("{{ 3.14159|stringformat:\"%.2f\" }} {{ 50|stringformat:\"%d%%\" }}", "3.14 50%"),
    ];
    for (source, expected) in golden {
        assert_eq!(ok(source), expected, "{source}");
    }
}

#[test]
fn tags_that_reach_out_are_refused() {
    for tag in [
        "include \"/etc/passwd\"",
        "extends \"x\"",
        "import \"x\" as y",
        "ssi \"/etc/passwd\"",
        "set x = 1",
        "macro a()",
        "with a=1",
        "raw",
        "block x",
        "unknown",
    ] {
        refused(&format!("{{% {tag} %}}"));
    }
    for source in [
        "{{ x",
        "{{ 'x }}",
        "{% if %}",
        "{% if x %}",
        "{{ x|nofilter }}",
        "{{ nofunction() }}",
        "{# x",
        "{{ x| }}",
        "{{ x|default: }}",
        "{% comment %}",
        "{{ {} }}",
    ] {
        refused(source);
    }
}

#[test]
fn bombs_fizzle() {
    refused("{{ \"x\" * 1000000000 }}");
    refused("{{ \"x\" ~ \"x\" }}");
    refused(&format!("{{{{ \"x\"{} }}}}", "+\"x\"".repeat(1000)));
    refused(&"{% if x %}".repeat(100_000));
    refused(&format!("{{{{ {}1{} }}}}", "(".repeat(100_000), ")".repeat(100_000)));
    let loops = "{% for a in path %}".repeat(12) + "x" + &"{% endfor %}".repeat(12);
    assert!(matches!(try_render(&loops), Err(Failure::Run(_))));
    let joins = format!("{{{{ path{} }}}}", "|join:\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"".repeat(40));
    assert!(matches!(try_render(&joins), Err(Failure::Run(_))));
    let quotes = format!("{{{{ path{} }}}}", "|split:\"ZZ\"".repeat(40));
    assert!(matches!(try_render(&quotes), Err(Failure::Run(_))));
    // Names, which could double at each step what they stand for.
    let doubled = |first: &str, tag: fn(char, char) -> String, end: &str| {
        let steps: String = ('a'..='y').zip('b'..='z').map(|(from, to)| tag(from, to)).collect();
        format!("{first}{steps}{{% if z == 1 %}}{{% endif %}}{}", end.repeat(26))
    };
    for bomb in [
        doubled("{% for a in [path + path] %}", |from, to| format!("{{% for {to} in [{from} + {from}] %}}"), "{% endfor %}"),
        doubled("{% with a=path %}", |from, to| format!("{{% with {to}={from} + {from} %}}"), "{% endwith %}"),
        doubled("{% with a=[path] %}", |from, to| format!("{{% with {to}={from} + {from} %}}"), "{% endwith %}"),
        doubled("{% with a=[[]] %}", |from, to| format!("{{% with {to}=[{from}[0] + {from}[0] + [1]] %}}"), "{% endwith %}"),
        doubled("{% with a=[1] %}", |from, to| format!("{{% with {to}=[{from}, {from}] %}}"), "{% endwith %}"),
    ] {
        assert!(matches!(try_render(&bomb), Err(Failure::Run(_))), "{bomb}");
    }
    let heavy = format!(
        "{{% for a in config[\"user.big\"]|split:\"\" %}}{}{{% endfor %}}",
        "{% for b in path %}{% if config[\"user.big\"]|upper == \"\" %}{% endif %}{% endfor %}".repeat(40)
    );
    assert!(matches!(try_render(&heavy), Err(Failure::Run(_))));
}

/// A volume and a root file system.
fn volume(metadata: &str, templates: &[(&str, &str)]) -> (tempfile::TempDir, Root, Root) {
    let dir = tempfile::tempdir().expect("temporary directory");
    sys::fs::create_dir(dir.path().join("templates"), 0o755).expect("mkdir");
    sys::fs::create_dir(dir.path().join("rootfs"), 0o755).expect("mkdir");
    sys::fs::write(dir.path().join("metadata.yaml"), format!("architecture: x86_64\ncreation_date: 1\ntemplates:\n{metadata}"))
        .expect("write");
    for (name, text) in templates {
        sys::fs::write(dir.path().join("templates").join(name), text).expect("write");
    }
    let (volume, rootfs) = (Root::open(dir.path()).expect("root"), Root::open(dir.path().join("rootfs")).expect("root"));
    (dir, volume, rootfs)
}

const HOSTNAME: &str = "  /etc/deep/hostname: {when: [create, copy], template: hostname.tpl}\n";

#[test]
fn triggers_owners_and_modes() {
    use std::os::unix::fs::MetadataExt;
    let metadata = format!("{HOSTNAME}  /etc/once: {{when: [start], create_only: true, template: hostname.tpl}}\n");
    let (dir, volume, rootfs) = volume(&metadata, &[("hostname.tpl", "{{ container.name }}\n")]);
    let context = TemplateContext { owner: (1000, 2000), ..context() };
    apply_templates("", &context, &volume, &rootfs).expect("nothing to do");
    assert_eq!(sys::fs::list_dir(dir.path().join("rootfs")).expect("list"), Vec::<String>::new());
    apply_templates("create", &context, &volume, &rootfs).expect("create");
    let file = dir.path().join("rootfs/etc/deep/hostname");
    assert_eq!(sys::fs::read_to_string(&file).expect("read"), "c1\n");
    for (path, mode) in [(file.clone(), 0o644), (dir.path().join("rootfs/etc/deep"), 0o755), (dir.path().join("rootfs/etc"), 0o755)] {
        let stat = sys::fs::metadata(path).expect("stat");
        assert_eq!((stat.mode() & 0o7777, stat.uid(), stat.gid()), (mode, 1000, 2000));
    }
    sys::fs::write(&file, "a much longer text than the template makes").expect("write");
    sys::fs::set_mode(&file, 0o600).expect("chmod");
    sys::fs::chown(&file, 5, 6).expect("chown");
    apply_templates("copy", &context, &volume, &rootfs).expect("copy");
    let stat = sys::fs::metadata(&file).expect("stat");
    assert_eq!((stat.mode() & 0o7777, stat.uid(), stat.gid(), stat.size()), (0o600, 5, 6, 3));
    sys::fs::write(dir.path().join("rootfs/etc/once"), "mine").expect("write");
    apply_templates("start", &context, &volume, &rootfs).expect("start");
    assert_eq!(sys::fs::read_to_string(dir.path().join("rootfs/etc/once")).expect("read"), "mine");
}

#[test]
fn links_in_the_container_stay_inside() {
    let (dir, volume, rootfs) = volume(HOSTNAME, &[("hostname.tpl", "new")]);
    let outside = dir.path().join("outside");
    sys::fs::create_dir(&outside, 0o755).expect("mkdir");
    sys::fs::write(outside.join("hostname"), "untouched").expect("write");
    sys::fs::create_dir(dir.path().join("rootfs/etc"), 0o755).expect("mkdir");
    for target in [outside.display().to_string(), "../../outside".to_owned()] {
        sys::fs::symlink(&target, dir.path().join("rootfs/etc/deep")).expect("symlink");
        drop(apply_templates("create", &context(), &volume, &rootfs));
        assert_eq!(sys::fs::read_to_string(outside.join("hostname")).expect("read"), "untouched");
        sys::fs::remove_file(dir.path().join("rootfs/etc/deep")).expect("remove");
    }
    sys::fs::create_dir(dir.path().join("rootfs/etc/deep"), 0o755).expect("mkdir");
    sys::fs::symlink(outside.join("hostname"), dir.path().join("rootfs/etc/deep/hostname")).expect("symlink");
    drop(apply_templates("create", &context(), &volume, &rootfs));
    assert_eq!(sys::fs::read_to_string(outside.join("hostname")).expect("read"), "untouched");
}

/// As images of systemd have it before their first start: `/etc/resolv.conf` leads into a `/run` that is empty.
#[test]
fn a_dangling_link_gets_the_directories_it_lacks() {
    use std::os::unix::fs::MetadataExt;
    let (dir, volume, rootfs) = volume(HOSTNAME, &[("hostname.tpl", "new")]);
    let context = TemplateContext { owner: (1000, 2000), ..context() };
    let inside = |path: &str| dir.path().join("rootfs").join(path);
    sys::fs::ensure_dir_all(inside("etc/deep"), 0o755).expect("mkdir");
    for (link, made) in [("/run/a/b/name", "run/a/b/name"), ("../../run/c/name", "run/c/name"), ("next", "etc/deep/far/name")] {
        sys::fs::symlink(link, inside("etc/deep/hostname")).expect("symlink");
        if link == "next" {
            sys::fs::symlink("../../../../../etc/deep/far/name", inside("etc/deep/next")).expect("symlink");
        }
        apply_templates("create", &context, &volume, &rootfs).expect("create");
        assert_eq!(sys::fs::read_to_string(inside(made)).expect(made), "new");
        let parent = sys::fs::metadata(inside(made).parent().expect("parent")).expect("stat");
        assert_eq!((parent.uid(), parent.gid()), (1000, 2000), "{made}");
        sys::fs::remove_file(inside("etc/deep/hostname")).expect("remove");
    }
    sys::fs::symlink("hostname", inside("etc/deep/hostname")).expect("symlink");
    assert!(apply_templates("create", &context, &volume, &rootfs).is_err(), "a link to itself");
}

#[test]
fn sources_outside_the_templates_are_refused() {
    for source in ["../secret", "/../secret", "link", "none", ""] {
        let (dir, volume, rootfs) = volume(&format!("  /etc/x: {{when: [create], template: \"{source}\"}}\n"), &[]);
        sys::fs::write(dir.path().join("secret"), "secret").expect("write");
        sys::fs::symlink(dir.path().join("secret"), dir.path().join("templates/link")).expect("symlink");
        assert!(apply_templates("create", &context(), &volume, &rootfs).is_err(), "{source}");
        assert!(!dir.path().join("rootfs/etc/x").exists());
    }
    let (dir, volume, rootfs) = volume(HOSTNAME, &[("hostname.tpl", "x")]);
    sys::fs::rename(dir.path().join("templates"), dir.path().join("elsewhere")).expect("rename");
    sys::fs::symlink(dir.path().join("elsewhere"), dir.path().join("templates")).expect("symlink");
    assert!(apply_templates("create", &context(), &volume, &rootfs).is_err());
}

#[test]
fn a_device_or_fifo_as_target_is_refused_without_blocking() {
    let (_dir, volume, rootfs) = volume("  /pipe: {when: [create], template: a}\n", &[("a", "x")]);
    let mut writer = archive_io::TreeWriter::new(rootfs.sub_root("").expect("root"));
    writer.node(Path::new("pipe"), NodeKind::Fifo, (0, 0), &archive_io::Attrs::default()).expect("fifo");
    assert!(apply_templates("create", &context(), &volume, &rootfs).is_err());
}

#[test]
fn syntax_aborts_but_running_errors_do_not() {
    let (dir, volume, rootfs) = volume(
        "  /bad: {when: [create], template: bad}\n  /run: {when: [start], template: run}\n",
        &[("bad", "{% include 'x' %}"), ("run", "{{ path + 1 }}")],
    );
    let error = apply_templates("create", &context(), &volume, &rootfs).expect_err("must fail").to_string();
    assert!(error.contains("bad") && error.contains("include"), "{error}");
    apply_templates("start", &context(), &volume, &rootfs).expect("ignored");
    assert!(!dir.path().join("rootfs/run").exists());
}

proptest::proptest! {
    #[test]
    fn translation_never_panics(source in "[{}%#|:\"'a-zß .!&+-]{0,80}") {
        drop(try_render(&source));
    }
}
