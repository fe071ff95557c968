//! The list of settings and a configuration in force, as text, as a page and as JSON.
#![forbid(unsafe_code)]

use std::fmt::Write;

use kuring::Settings;
use kuring::config::{Property, Verdict, every_property};

use crate::doctor::{quoted, wrap};

/// Columns of name and type, the blank behind them included.
const NAME_COLUMNS: usize = 52;
const TYPE_COLUMNS: usize = 10;
/// How far a meaning is set in below its name.
const INDENT: usize = 4;

/// Which settings are listed.
#[derive(Debug)]
pub struct Selection<'a>(&'a [String]);

impl<'a> Selection<'a> {
    /// Those whose name contains one of these words; all when there is none.
    pub fn new(words: &'a [String]) -> Self {
        Self(words)
    }

    fn properties(&self) -> impl Iterator<Item = &'static Property> {
        let named =
            |property: &Property| self.0.iter().any(|word| property.name.contains(word.as_str()));
        every_property().filter(move |property| self.0.is_empty() || named(property))
    }
}

/// What is done with a property, in a few words; nothing for what is simply carried out.
fn remark(property: &Property) -> Option<String> {
    match property.verdict() {
        Verdict::Supported => None,
        Verdict::Ignored { instead } => Some(format!("Ignored: {instead}.")),
        _ => Some("Not supported yet: only the default is accepted.".to_owned()),
    }
}

fn shown(default: &str) -> &str {
    if default.is_empty() { "(unset)" } else { default }
}

/// A paragraph for each: name, type, default, and below them the meaning.
pub fn text(selection: &Selection<'_>, columns: usize) -> String {
    let mut out = String::new();
    for property in selection.properties() {
        let Property { name, value_type, default, meaning, .. } = property;
        let default = shown(default);
        let _ = writeln!(out, "{name:<NAME_COLUMNS$}{value_type:<TYPE_COLUMNS$}{default}");
        let meaning = [Some((*meaning).to_owned()), remark(property)];
        for part in meaning.into_iter().flatten() {
            for line in wrap(&part, columns.saturating_sub(INDENT)) {
                let _ = writeln!(out, "{:INDENT$}{line}", "");
            }
        }
    }
    if out.is_empty() {
        out.push_str("No setting has such a name; without a word, all are listed.\n");
    }
    out
}

/// One object: `version`, and `properties` with name, type, default, verdict, instead (null unless
/// it is ignored) and meaning.
pub fn json(selection: &Selection<'_>) -> String {
    let each = selection.properties().map(|property| {
        let (verdict, instead) = match property.verdict() {
            Verdict::Supported => ("supported", None),
            Verdict::Ignored { instead } => ("ignored", Some(instead)),
            _ => ("not yet", None),
        };
        let fields = [
            ("name", quoted(property.name)),
            ("type", quoted(&property.value_type.to_string())),
            ("default", quoted(property.default)),
            ("verdict", quoted(verdict)),
            ("instead", instead.map_or_else(|| "null".to_owned(), quoted)),
            ("meaning", quoted(property.meaning)),
        ];
        object(&fields)
    });
    let version = quoted(env!("CARGO_PKG_VERSION"));
    format!("{{\n  \"version\": {version},\n  \"properties\": {}\n}}\n", array(each))
}

/// A configuration: whether it is `valid`, `errors`, `warnings`, and `settings` with name, value,
/// default, is_default, origin and derived (null unless another property changed it).
pub fn effective_json(
    settings: Option<&Settings>,
    errors: &[String],
    warnings: &[String],
) -> String {
    let effective = settings.into_iter().flat_map(Settings::effective).map(|setting| {
        let fields = [
            ("name", quoted(setting.name)),
            ("value", quoted(&setting.value)),
            ("default", quoted(setting.default)),
            ("is_default", setting.is_default().to_string()),
            ("origin", quoted(&setting.origin.to_string())),
            ("derived", setting.derived.map_or_else(|| "null".to_owned(), quoted)),
        ];
        object(&fields)
    });
    format!(
        "{{\n  \"valid\": {},\n  \"errors\": {},\n  \"warnings\": {},\n  \"settings\": {}\n}}\n",
        settings.is_some(),
        array(errors.iter().map(|text| quoted(text))),
        array(warnings.iter().map(|text| quoted(text))),
        array(effective)
    )
}

fn object(fields: &[(&str, String)]) -> String {
    let fields: Vec<_> =
        fields.iter().map(|(name, text)| format!("{}: {text}", quoted(name))).collect();
    format!("{{{}}}", fields.join(", "))
}

fn array(each: impl Iterator<Item = String>) -> String {
    let each: Vec<_> = each.map(|text| format!("\n    {text}")).collect();
    if each.is_empty() { "[]".to_owned() } else { format!("[{}\n  ]", each.join(",")) }
}

/// The page docs/settings.md.
pub fn markdown() -> String {
    let mut out = String::from(PAGE_HEAD);
    let is = |wanted: fn(&Property) -> bool| every_property().filter(move |it| wanted(it));
    let supported = |it: &Property| it.verdict() == Verdict::Supported && !it.is_ours();
    let ignored = |it: &Property| matches!(it.verdict(), Verdict::Ignored { .. });
    let not_yet = |it: &Property| it.verdict() == Verdict::NotYet;
    section(&mut out, "Kafka's, carried out", "", is(supported));
    section(&mut out, "Kuring's own", "", is(Property::is_ours));
    section(&mut out, "Kafka's, not supported yet", NOT_YET, is(not_yet));
    section(&mut out, "Kafka's, ignored", IGNORED, is(ignored));
    out
}

const PAGE_HEAD: &str = "# Settings

Made by `kuring config --markdown` from the library's own table. The names are those of the Java
producer; each setter of `ConfigBuilder` names the property it sets. Durations are in milliseconds,
sizes in bytes. `kuring config --file producer.properties` prints what a producer makes of a
configuration, and where each value came from.
";

const NOT_YET: &str = "The default is accepted, so that a file which spells it out works; every \
other value is an error.\n\n";

const IGNORED: &str = "They only mean something in a JVM, or on a broker. Any value is accepted, \
with one warning that says what to use instead.\n\n";

fn section<'a>(
    out: &mut String,
    title: &str,
    words: &str,
    properties: impl Iterator<Item = &'a Property>,
) {
    let _ = write!(out, "\n## {title}\n\n{words}");
    out.push_str("| name | type | default | meaning |\n| --- | --- | --- | --- |\n");
    for property in properties {
        let Property { name, value_type, default, meaning, .. } = property;
        let default = if default.is_empty() { "unset".to_owned() } else { format!("`{default}`") };
        let instead = match property.verdict() {
            Verdict::Ignored { instead } => format!(" Instead: {instead}."),
            _ => String::new(),
        };
        let _ = writeln!(out, "| `{name}` | {value_type} | {default} | {meaning}{instead} |");
    }
}
