//! Makes a component of WebAssembly text, for the measuring scripts: `assemble TEXT COMPONENT`.

use std::error::Error;
use std::{env, fs};

fn main() -> Result<(), Box<dyn Error>> {
    let mut paths = env::args().skip(1);
    let (Some(text), Some(component)) = (paths.next(), paths.next()) else {
        return Err("assemble TEXT COMPONENT".into());
    };
    fs::write(component, wat::parse_str(fs::read_to_string(text)?)?)?;
    Ok(())
}
