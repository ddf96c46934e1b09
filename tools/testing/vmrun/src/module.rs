// SPDX-License-Identifier: GPL-2.0

//! Which modules a module needs: its `depends=` line, looked up in the kernel's build tree.

use crate::Result;
use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The names in the module's `depends=` entry. The entry is a plain string in the object file, so
/// no ELF parser is needed; the byte before it ends the previous entry.
fn depends(path: &Path) -> Result<Vec<String>> {
    let bytes = fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let tag = b"\0depends=";
    let Some(at) = bytes.windows(tag.len()).position(|window| window == tag) else {
        return Ok(Vec::new());
    };
    let value = bytes.get(at + tag.len()..).unwrap_or_default();
    let value = value.split(|&byte| byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(value)
        .split(',')
        .filter(|name| !name.is_empty())
        .map(str::to_string)
        .collect())
}

/// The modules of a build tree by name, from its `modules.order`.
fn modules(kernel: &Path) -> HashMap<String, PathBuf> {
    let order = fs::read_to_string(kernel.join("modules.order")).unwrap_or_default();
    order
        .lines()
        .filter_map(|line| {
            let object = Path::new(line);
            let name = object.file_stem()?.to_str()?.replace('-', "_");
            Some((name, kernel.join(object.with_extension("ko"))))
        })
        .collect()
}

/// `module` and all it needs, in the order in which they must be loaded.
pub fn load_order(module: &Path, kernel: &Path) -> Result<Vec<PathBuf>> {
    fn visit(
        path: &Path,
        known: &HashMap<String, PathBuf>,
        order: &mut Vec<PathBuf>,
    ) -> Result<()> {
        if order.iter().any(|other| other == path) {
            return Ok(());
        }
        for name in depends(path)? {
            let Some(needed) = known.get(&name.replace('-', "_")) else {
                return Err(format!(
                    "{} needs {name}, which is no module",
                    path.display()
                ));
            };
            visit(needed, known, order)?;
        }
        order.push(path.to_path_buf());
        Ok(())
    }
    let mut order = Vec::new();
    visit(module, &modules(kernel), &mut order)?;
    Ok(order)
}
