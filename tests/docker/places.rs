//! Other ways to an engine: TLS with certificates of both sides, contexts, a rootless engine's socket.

use std::fs;
use std::path::Path;
use std::process::Command;

use sha2::{Digest, Sha256};

use crate::bench::{Bench, image, text};
use crate::proxy::Proxy;

const SCRIPT: &str =
    "local pg <close> = lab.postgres { archive = false } print('answer', pg:value 'SELECT 6 * 7')";

fn openssl(folder: &Path, args: &str) {
    let run = Command::new("openssl")
        .current_dir(folder)
        .args(args.split(' '))
        .output()
        .unwrap();
    assert!(run.status.success(), "openssl {args}\n{}", text(&run));
}

/// A certificate authority, and what it signed for the engine and for clients.
fn certificates(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
    openssl(
        folder,
        &format!("req -x509 {key} -keyout ca-key.pem -out ca.pem -subj /CN=test-ca"),
    );
    fs::write(
        folder.join("server.ext"),
        "subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n",
    )
    .unwrap();
    fs::write(folder.join("client.ext"), "extendedKeyUsage=clientAuth\n").unwrap();
    for (name, key_file, cert) in [
        ("server", "server-key.pem", "server-cert.pem"),
        ("client", "key.pem", "cert.pem"),
    ] {
        openssl(
            folder,
            &format!(
                "req {} -keyout {key_file} -out {name}.csr -subj /CN={name}",
                key.replace(" -days 2", "")
            ),
        );
        openssl(
            folder,
            &format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -days 2 -extfile {name}.ext -out {cert}"
            ),
        );
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// A context as `docker context create` stores it.
fn context(config: &Path, name: &str, host: &str, certificates: Option<&Path>) {
    let id: String = Sha256::digest(name.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let meta = config.join("contexts/meta").join(&id);
    fs::create_dir_all(&meta).unwrap();
    let stored = serde_json::json!({"Name": name, "Endpoints": {"docker": {"Host": host}}});
    fs::write(meta.join("meta.json"), stored.to_string()).unwrap();
    if let Some(from) = certificates {
        let tls = config.join("contexts/tls").join(&id).join("docker");
        fs::create_dir_all(&tls).unwrap();
        for name in ["ca.pem", "cert.pem", "key.pem"] {
            fs::copy(from.join(name), tls.join(name)).unwrap();
        }
    }
}

#[test]
fn an_engine_behind_tls() {
    let Some(bench) = Bench::new() else { return };
    let (good, other) = (bench.dir.join("good"), bench.dir.join("other"));
    certificates(&good);
    certificates(&other);
    let port = free_port();
    let host = format!("tcp://127.0.0.1:{port}");
    let _proxy = Proxy::start(&port.to_string(), &[&good.display().to_string()]);
    let run = |certificates: &Path, script: &str| {
        let mut command = bench.rpitr(&["-e", script]);
        command.env("RPITR_POSTGRES_IMAGE", image(15));
        command
            .env("DOCKER_HOST", &host)
            .env("DOCKER_TLS_VERIFY", "1");
        command
            .env("DOCKER_CERT_PATH", certificates)
            .output()
            .unwrap()
    };
    let proved = run(&good, SCRIPT);
    assert!(
        proved.status.success() && text(&proved).contains("42"),
        "{}",
        text(&proved)
    );
    assert_eq!(bench.left(), Vec::<String>::new());
    // Certificates of somebody else, or none at all.
    for certificates in [&other, &bench.dir] {
        let refused = run(certificates, "lab.sandbox()");
        assert_eq!(refused.status.code(), Some(12), "{}", text(&refused));
        assert!(text(&refused).contains(&host), "{}", text(&refused));
    }
    // The same engine by a context that holds the certificates, named or current.
    let config = bench.dir.join("config");
    context(&config, "far", &host, Some(&good));
    let mut named = bench.rpitr(&["-e", "lab.sandbox()"]);
    named
        .env_remove("DOCKER_HOST")
        .env("DOCKER_CONFIG", &config)
        .env("DOCKER_CONTEXT", "far");
    let named = named.output().unwrap();
    assert!(named.status.success(), "{}", text(&named));
    fs::write(config.join("config.json"), r#"{"currentContext":"far"}"#).unwrap();
    let mut current = bench.rpitr(&["-e", "lab.sandbox()"]);
    current
        .env_remove("DOCKER_HOST")
        .env_remove("DOCKER_CONTEXT")
        .env("DOCKER_CONFIG", &config);
    let current = current.output().unwrap();
    assert!(current.status.success(), "{}", text(&current));
    let mut unknown = bench.rpitr(&["-e", "lab.sandbox()"]);
    unknown
        .env_remove("DOCKER_HOST")
        .env("DOCKER_CONFIG", &config)
        .env("DOCKER_CONTEXT", "near");
    let unknown = unknown.output().unwrap();
    assert_eq!(unknown.status.code(), Some(12));
    assert!(
        text(&unknown).contains("context \"near\""),
        "{}",
        text(&unknown)
    );
}

#[test]
fn a_context_with_a_socket() {
    let Some(bench) = Bench::new() else { return };
    let socket = bench.dir.join("elsewhere.sock").display().to_string();
    let _proxy = Proxy::start(&socket, &[]);
    let config = bench.dir.join("config");
    context(&config, "elsewhere", &format!("unix://{socket}"), None);
    let mut run = bench.rpitr(&["-e", SCRIPT]);
    run.env_remove("DOCKER_HOST")
        .env("DOCKER_CONFIG", &config)
        .env("DOCKER_CONTEXT", "elsewhere");
    let run = run.env("RPITR_POSTGRES_IMAGE", image(15)).output().unwrap();
    assert!(
        run.status.success() && text(&run).contains("42"),
        "{}",
        text(&run)
    );
    assert_eq!(bench.left(), Vec::<String>::new());
}
