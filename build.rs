//! Embeds the standard library and the scripts, so that the binary works without a checkout.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?);
    let mut code = String::new();
    for (constant, folder) in [("STDLIB", "stdlib"), ("SCRIPTS", "scripts")] {
        println!("cargo::rerun-if-changed={folder}");
        let mut files = Vec::new();
        collect(&root.join(folder), &is_lua, &mut files)?;
        files.sort();
        let _ = writeln!(code, "pub static {constant}: &[(&str, &str)] = &[");
        for file in files {
            let name = file
                .strip_prefix(root.join(folder))
                .map_err(io::Error::other)?;
            let _ = writeln!(code, "    ({:?}, include_str!({:?})),", name, file);
        }
        code.push_str("];\n");
    }
    let out = PathBuf::from(env::var("OUT_DIR").map_err(io::Error::other)?);
    fs::write(out.join("embedded.rs"), code)?;
    fs::write(out.join("compose.rs"), environments(&root)?)
}

/// The files of the standing environments.
fn environments(root: &Path) -> io::Result<String> {
    let folder = root.join("compose");
    println!("cargo::rerun-if-changed=compose");
    let mut files = Vec::new();
    let wanted = |path: &Path| {
        !path.starts_with(folder.join("image"))
            && path.file_name().is_some_and(|name| name != ".env")
    };
    collect(&folder, &wanted, &mut files)?;
    files.sort();
    let mut code = String::from("pub static FILES: &[(&str, &str)] = &[");
    for file in files {
        let name = file.strip_prefix(&folder).map_err(io::Error::other)?;
        let _ = writeln!(code, "    ({name:?}, include_str!({file:?})),");
    }
    code.push_str("];\n");
    Ok(code)
}

fn is_lua(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "lua")
}

fn collect(
    folder: &Path,
    wanted: &dyn Fn(&Path) -> bool,
    files: &mut Vec<PathBuf>,
) -> io::Result<()> {
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            println!("cargo::rerun-if-changed={}", path.display());
            collect(&path, wanted, files)?;
        } else if wanted(&path) {
            files.push(path);
        }
    }
    Ok(())
}
