//! Help as a terminal shows it: `h pitr.restore`, `rpitr doc pitr.restore`.

use std::fmt::Write as _;

use super::lookup::Entry;
use super::model::{Alias, Api, Class, Doc, Field, Function, Module};
use crate::failure::{Failure, Kind};

/// How wide the column of types may become before a text moves to a line of its own.
const TYPE_WIDTH: usize = 34;

/// Writes help, with colour where the terminal has it.
#[derive(Debug, Clone, Copy)]
pub struct Help<'a> {
    pub api: &'a Api,
    pub color: bool,
}

impl Help<'_> {
    /// Everything there is to say about an entry.
    pub fn entry(&self, entry: Entry<'_>) -> String {
        let mut out = String::new();
        match entry {
            Entry::Module(module) => self.module(&mut out, module),
            Entry::Function(function) => self.function(&mut out, function),
            Entry::Class(class) => self.class(&mut out, class),
            Entry::Field(owner, field) => self.field(&mut out, owner, field),
            Entry::Alias(alias) => self.alias(&mut out, alias),
        }
        out.truncate(out.trim_end().len());
        out
    }

    /// Modules, handles and globals, each with a line.
    pub fn overview(&self) -> String {
        let mut out = String::new();
        let lines = |name: &str, doc: &Doc| (name.to_string(), doc.summary());
        let modules = self.api.modules.iter();
        self.list(
            &mut out,
            "modules",
            modules.map(|one| lines(&one.name, &one.doc)).collect(),
        );
        let handles = self.api.classes.iter().filter(|class| class.is_handle());
        self.list(
            &mut out,
            "what they give",
            handles
                .map(|one| lines(one.short_name(), &one.doc))
                .collect(),
        );
        let globals = self.api.globals.functions.iter();
        self.list(
            &mut out,
            "globals",
            globals.map(|one| lines(&one.name, &one.doc)).collect(),
        );
        out.truncate(out.trim_end().len());
        out
    }

    /// The help for a name, with the source of a function below it where that is wanted.
    pub fn named(&self, name: &str, source: bool) -> Result<String, Failure> {
        let Some(entry) = self.api.find(name) else {
            let failure = Failure::new(Kind::Arg, format!("there is no help for {name}"));
            return Err(failure.hint(match self.api.suggest(name) {
                Some(near) => format!("did you mean {near}?"),
                None => "rpitr doc lists everything there is".into(),
            }));
        };
        let mut text = self.entry(entry);
        if let Entry::Function(function) = entry
            && source
        {
            let span = &function.span;
            let place = self.dim(&format!("-- stdlib/{}:{}", span.file, span.line));
            let _ = write!(text, "\n\n{place}\n{}", self.api.source(span));
        }
        Ok(text)
    }

    fn function(&self, out: &mut String, function: &Function) {
        let mut title = self.bold(&function.signature());
        if !function.returns.is_empty() {
            let _ = write!(
                title,
                " {} {}",
                self.dim("->"),
                self.ty(&function.return_types())
            );
        }
        let _ = writeln!(out, "{title}");
        if function.deprecated {
            let _ = writeln!(out, "  deprecated");
        }
        self.doc(out, &function.doc);
        let params: Vec<Row> = function
            .params
            .iter()
            .map(|one| Row::new(&one.name, one.optional, &one.ty, &one.text))
            .collect();
        self.rows(out, "parameters", &params);
        if let Some(options) = self.api.options(function) {
            self.rows(out, "options", &self.field_rows(options));
        }
        let returns: Vec<Row> = function
            .returns
            .iter()
            .filter(|one| !one.text.is_empty() || one.name.is_some())
            .map(|one| Row::new(one.name.as_deref().unwrap_or(""), false, &one.ty, &one.text))
            .collect();
        self.rows(out, "returns", &returns);
        for class in self.result_tables(function) {
            let title = format!("{} has", class.short_name());
            self.rows(out, &title, &self.field_rows(class));
        }
        let errors: Vec<Row> = function
            .errors
            .iter()
            .map(|one| Row::new(&one.kind, false, "", &one.text))
            .collect();
        self.rows(out, "errors", &errors);
        self.calls(out, "also", &function.overloads);
        for see in &function.see {
            let _ = writeln!(out, "\n{} {see}", self.head("see"));
        }
    }

    /// The tables a function returns, whose fields are part of its help.
    fn result_tables(&self, function: &Function) -> Vec<&Class> {
        let types = function.returns.iter();
        types
            .filter_map(|one| {
                let name = one.ty.trim_end_matches('?').trim_end_matches("[]");
                self.api.class(name)
            })
            .filter(|class| !class.is_handle())
            .collect()
    }

    fn module(&self, out: &mut String, module: &Module) {
        let _ = writeln!(out, "{}", self.bold(&module.name));
        self.doc(out, &module.doc);
        self.calls(out, "called", &module.overloads);
        self.list(out, "functions", self.function_lines(&module.functions));
        let values: Vec<Row> = module
            .fields
            .iter()
            .filter(|field| !field.private)
            .map(Row::of)
            .collect();
        self.rows(out, "values", &values);
    }

    fn class(&self, out: &mut String, class: &Class) {
        let mut title = self.bold(class.short_name());
        if !class.parents.is_empty() {
            let parents: Vec<&str> = class.parents.iter().map(|name| short(name)).collect();
            let _ = write!(title, " {} {}", self.dim("extends"), parents.join(", "));
        }
        let _ = writeln!(out, "{title}");
        self.doc(out, &class.doc);
        self.calls(out, "called", &class.overloads);
        self.list(out, "methods", self.function_lines(&class.methods));
        self.rows(out, "fields", &self.field_rows(class));
        self.calls(out, "operators", &class.operators);
    }

    fn field(&self, out: &mut String, owner: &str, field: &Field) {
        let name = match owner {
            "globals" => field.name.clone(),
            _ => format!("{owner}.{}", field.name),
        };
        let _ = writeln!(
            out,
            "{} {} {}",
            self.bold(&name),
            self.dim(":"),
            self.ty(&field.ty)
        );
        for line in field.text.lines() {
            let _ = writeln!(out, "  {line}");
        }
        self.types(out, &field.ty);
    }

    fn alias(&self, out: &mut String, alias: &Alias) {
        let name = self.bold(short(&alias.name));
        let _ = writeln!(out, "{name} {} {}", self.dim("="), self.ty(&alias.ty));
        self.doc(out, &alias.doc);
    }

    /// The table a field holds.
    fn types(&self, out: &mut String, ty: &str) {
        let class = self.api.class(ty.trim_end_matches(['?', '[', ']']));
        if let Some(class) = class.filter(|class| !class.is_handle()) {
            let title = format!("{} has", class.short_name());
            self.rows(out, &title, &self.field_rows(class));
        }
    }

    fn field_rows(&self, class: &Class) -> Vec<Row> {
        let fields = self.api.fields(class).into_iter();
        fields.filter(|field| !field.private).map(Row::of).collect()
    }

    fn function_lines(&self, functions: &[Function]) -> Vec<(String, String)> {
        functions
            .iter()
            .filter(|function| !function.private && !function.inherited)
            .map(|function| (function.signature(), function.doc.summary()))
            .collect()
    }

    fn doc(&self, out: &mut String, doc: &Doc) {
        if doc.is_empty() {
            let _ = writeln!(out, "  (no description)");
        }
        let mut code = false;
        for line in doc.text.lines() {
            if line.starts_with("```") {
                code = !code;
            } else if code {
                let _ = writeln!(out, "    {}", self.paint("32", line));
            } else if line.is_empty() {
                out.push('\n');
            } else {
                let _ = writeln!(out, "  {line}");
            }
        }
    }

    fn calls(&self, out: &mut String, title: &str, calls: &[String]) {
        for call in calls {
            let _ = writeln!(out, "\n{} {}", self.head(title), self.ty(call));
        }
    }

    /// Names with a line of text.
    fn list(&self, out: &mut String, title: &str, lines: Vec<(String, String)>) {
        if lines.is_empty() {
            return;
        }
        let width = lines
            .iter()
            .map(|(name, _)| name.len())
            .max()
            .unwrap_or(0)
            .min(44);
        if !out.is_empty() {
            out.push('\n');
        }
        let _ = writeln!(out, "{}", self.head(title));
        for (name, text) in lines {
            let pad = " ".repeat(width.saturating_sub(name.len()));
            let line = format!("  {}{pad}  {text}", self.paint("36", &name));
            let _ = writeln!(out, "{}", line.trim_end());
        }
    }

    /// Names, types and texts in columns.
    fn rows(&self, out: &mut String, title: &str, rows: &[Row]) {
        if rows.is_empty() {
            return;
        }
        let names = rows.iter().map(|row| row.name.len()).max().unwrap_or(0);
        let types = rows
            .iter()
            .map(|row| row.ty.len())
            .filter(|length| *length <= TYPE_WIDTH)
            .max()
            .unwrap_or(0);
        let _ = writeln!(out, "\n{}", self.head(title));
        for row in rows {
            let mut line = "  ".to_string();
            if names > 0 {
                let pad = " ".repeat(names - row.name.len());
                let _ = write!(line, "{}{pad}  ", self.paint("36", &row.name));
            }
            if row.ty.len() > types && !row.text.is_empty() {
                let _ = writeln!(out, "{line}{}", self.paint("33", &row.ty));
                line = " ".repeat(2 + names + if names > 0 { 2 } else { 0 });
                let _ = write!(
                    line,
                    "{}",
                    " ".repeat(if types > 0 { types + 2 } else { 0 })
                );
            } else if types > 0 {
                let pad = " ".repeat(types.saturating_sub(row.ty.len()));
                let _ = write!(line, "{}{pad}  ", self.paint("33", &row.ty));
            }
            line.push_str(&row.text);
            let _ = writeln!(out, "{}", line.trim_end());
        }
    }

    fn ty(&self, ty: &str) -> String {
        self.paint("33", &shorten(ty))
    }

    fn bold(&self, text: &str) -> String {
        self.paint("1", text)
    }

    fn dim(&self, text: &str) -> String {
        self.paint("2", text)
    }

    fn head(&self, text: &str) -> String {
        self.paint("2", text)
    }

    fn paint(&self, code: &str, text: &str) -> String {
        match self.color && !text.is_empty() {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_string(),
        }
    }
}

/// A name, its type, what it is.
struct Row {
    name: String,
    ty: String,
    text: String,
}

impl Row {
    fn new(name: &str, optional: bool, ty: &str, text: &str) -> Row {
        Row {
            name: format!("{name}{}", if optional && name != "..." { "?" } else { "" }),
            ty: shorten(ty),
            text: text.to_string(),
        }
    }

    fn of(field: &Field) -> Row {
        Row::new(&field.name, field.optional, &field.ty, &field.text)
    }
}

fn short(name: &str) -> &str {
    name.strip_prefix("rpitr.").unwrap_or(name)
}

/// Types as people say them: `Node` for `rpitr.Node`.
fn shorten(ty: &str) -> String {
    ty.replace("rpitr.", "")
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
