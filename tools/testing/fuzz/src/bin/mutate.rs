// SPDX-License-Identifier: GPL-2.0

//! Changes an image in place as a seed says, and tells what it changed.
//!
//! `mutate IMAGE SEED` or `mutate IMAGE --overlong TREE BYTES`

use fuzz::image::Image;
use fuzz::mutate::{mutate, overlong_items};
use std::os::unix::fs::FileExt;

fn run() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let path = args
        .first()
        .ok_or("usage: mutate IMAGE SEED | IMAGE --overlong TREE BYTES")?;
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)?;
    let image = Image::read(&file)?;
    let words: Vec<&str> = args[1..].iter().map(String::as_str).collect();
    let mutation = match words[..] {
        ["--overlong", tree, beyond] => overlong_items(&image, tree.parse()?, beyond.parse()?),
        [seed] => mutate(&image, &file, seed.parse()?)?,
        _ => return Err("usage: mutate IMAGE SEED | IMAGE --overlong TREE BYTES".into()),
    };
    for line in &mutation.story {
        println!("{line}");
    }
    for patch in &mutation.patches {
        file.write_all_at(&patch.bytes, patch.offset)?;
    }
    if mutation.patches.is_empty() {
        return Err("nothing was changed".into());
    }
    Ok(())
}

fn main() {
    if let Err(error) = run() {
        eprintln!("mutate: {error}");
        std::process::exit(1);
    }
}
