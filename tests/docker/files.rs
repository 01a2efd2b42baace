//! Programs in a container, and its files.

use std::time::{Duration, Instant};

use rpitr::runtime::*;

use crate::bench::{Bench, add, block_on, docker, text};

#[test]
fn programs_and_files() {
    let Some(bench) = Bench::new() else { return };
    block_on(async {
        let lab = bench.lab().await;
        let node = add(&lab, "one").await;
        let odd = "a 'b' \"c\" $HOME; * \\ \n%";
        let run = node
            .run_tool("printf", &["%s", odd], ToolOptions::default())
            .await
            .unwrap();
        assert_eq!(run.stdout_text(), odd, "no shell in between");
        let both = ["-c", "cat; echo err >&2; exit 7"];
        let options = ToolOptions {
            stdin: Some(vec![b'x'; 300_000]),
            ..ToolOptions::default()
        };
        let run = node.run_tool("sh", &both, options).await.unwrap();
        assert_eq!(
            (run.stdout.len(), run.stderr_text().as_str()),
            (300_000, "err\n")
        );
        assert_eq!(run.status.code(), Some(7));
        let slow = ToolOptions {
            timeout: Some(Duration::from_millis(500)),
            ..ToolOptions::default()
        };
        let late = node.run_tool("sleep", &["7654"], slow).await.unwrap_err();
        assert!(matches!(late, Error::ToolTimeout { .. }), "{late}");
        let deadline = Instant::now() + Duration::from_secs(10);
        let container = node.as_container("test").unwrap().container();
        while text(&docker(&["top", &container])).contains("sleep 7654") {
            assert!(Instant::now() < deadline, "the program was not killed");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }

        node.mkdir("sub dir/deep").await.unwrap();
        node.write_file("sub dir/a'b", b"\0\xFFtext\n", 0o640)
            .await
            .unwrap();
        node.append_file("sub dir/a'b", b"more").await.unwrap();
        assert_eq!(
            node.read_file("sub dir/a'b").await.unwrap(),
            b"\0\xFFtext\nmore"
        );
        assert_eq!(node.file_size("sub dir/a'b").await.unwrap(), 11);
        let names: Vec<_> = node
            .list_dir("sub dir")
            .await
            .unwrap()
            .into_iter()
            .map(|e| (e.name, e.is_dir))
            .collect();
        assert_eq!(
            names,
            [("a'b".to_string(), false), ("deep".to_string(), true)]
        );
        let copied = node
            .copy_tree("sub dir", "copy", CopyOptions::default())
            .await
            .unwrap();
        assert_eq!((copied.files, copied.bytes), (1, 11));
        node.rename("copy/a'b", "copy/c").await.unwrap();
        assert!(node.remove_file("copy/c").await.unwrap());
        assert!(!node.remove_file("copy/c").await.unwrap());
        assert!(node.remove_tree("copy").await.unwrap());
        assert!(node.read_file("none").await.is_err());
        assert!(node.disk_space().await.unwrap().available > 0);
        for outside in ["/etc/passwd", "../../../x"] {
            let refused = node.write_file(outside, b"", 0o600).await.unwrap_err();
            assert!(matches!(refused, Error::OutsideLab { .. }), "{refused}");
        }
        assert!(node.remove_tree(lab.dir()).await.is_err());
        lab.destroy().await.unwrap();
    });
}
