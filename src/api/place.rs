//! What a declaration belongs to, and what it is called there.

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Global,
    Module(String),
    Class(String),
}

impl Place {
    pub fn is_class(&self) -> bool {
        matches!(self, Place::Class(_))
    }

    pub fn full_name(&self, name: &str, method: bool) -> String {
        let separator = if method { ':' } else { '.' };
        match self {
            Place::Global => name.to_string(),
            Place::Module(module) => format!("{module}{separator}{name}"),
            Place::Class(class) => {
                let short = class.strip_prefix("rpitr.").unwrap_or(class);
                format!("{short}{separator}{name}")
            }
        }
    }
}
