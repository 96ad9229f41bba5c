//! What is made from `proxy.toml` and the table of keys: `docs/configuration.md`, and the chart's schema of `config`. Both are
//! written anew with `TIDEGATE_WRITE_DOCS=1`. What other pages show of a configuration has no mistakes.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

use super::{
    super::schema::SECTIONS,
    default_file::{TEXT, WITHOUT_DEFAULT, commented},
    load,
};

/// Compares a file of the repository with what it should be, or writes it.
fn hold(path: &str, expected: &str) {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path);
    if std::env::var_os("TIDEGATE_WRITE_DOCS").is_some() {
        fs::write(&file, expected).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    let line = found
        .lines()
        .zip(expected.lines())
        .position(|(found, expected)| found != expected);
    assert!(
        found == expected,
        "{path} is not what proxy.toml and the table of keys say, from line {} on; TIDEGATE_WRITE_DOCS=1 cargo test --lib documentation writes it anew",
        line.unwrap_or(found.lines().count().min(expected.lines().count())) + 1
    );
}

/// Lines that stand together: what is said, and the keys below it or the section above which it stands.
#[derive(Default)]
struct Block<'a> {
    said: Vec<&'a str>,
    keys: Vec<(&'a str, &'a str)>,
}

impl Block<'_> {
    fn text(&self) -> String {
        let mut text = String::new();
        for line in &self.said {
            // What is indented there is code here.
            match line.strip_prefix("  ") {
                Some(code) => writeln!(text, "    {code}").unwrap(),
                None => writeln!(text, "{line}").unwrap(),
            }
        }
        text
    }

    fn page(&self, section: &str, page: &mut String) {
        let names: Vec<_> = self.keys.iter().map(|(key, _)| *key).collect();
        writeln!(page, "\n### {}\n\n{}\n```toml", names.join(", "), self.text()).unwrap();
        for (key, value) in &self.keys {
            writeln!(page, "{key} = {value}").unwrap();
        }
        let examples = self.keys.iter().filter(|(key, _)| is_example(key)).count();
        let shown = match examples {
            0 => "The default",
            _ if examples == names.len() => "An example; there is no default",
            _ => "The default, or an example where there is none",
        };
        let variables: Vec<_> = names
            .iter()
            .map(|key| format!("`{}`", variable(section, key)))
            .collect();
        writeln!(page, "```\n\n{shown}. Variable: {}.", variables.join(", ")).unwrap();
    }
}

fn is_example(key: &str) -> bool {
    key == "uri" || WITHOUT_DEFAULT.iter().any(|example| key.starts_with(example))
}

fn variable(section: &str, key: &str) -> String {
    let repeated = SECTIONS
        .iter()
        .any(|known| known.name == section && known.repeated);
    let mut parts: Vec<_> = section.split('.').collect();
    if repeated {
        parts.insert(1, "0");
    }
    format!("TIDEGATE_{}__{key}", parts.join("__")).to_uppercase()
}

fn configuration() -> String {
    let mut page = "<!-- Made from proxy.toml: TIDEGATE_WRITE_DOCS=1 cargo test --lib documentation -->\n# Configuration\n\n".to_owned();
    let mut section = "";
    let mut block = Block::default();
    for line in TEXT.lines().chain([""]) {
        if line.is_empty() {
            if !block.keys.is_empty() {
                block.page(section, &mut page);
            } else if section.is_empty() {
                page.push_str(&block.text());
            }
            block = Block::default();
        } else if line.starts_with('[') {
            section = line.trim_matches(['[', ']']);
            writeln!(page, "\n## {line}").unwrap();
            if !block.said.is_empty() {
                write!(page, "\n{}", block.text()).unwrap();
            }
            block = Block::default();
        } else if let Some(pair) = commented(line)
            .or_else(|| Some(line).filter(|line| !line.starts_with('#')))
            .and_then(|line| line.split_once(" = "))
        {
            block.keys.push(pair);
        } else {
            let said = line.trim_start_matches('#');
            block.said.push(said.strip_prefix(' ').unwrap_or(said));
        }
    }
    page
}

#[test]
fn the_page_of_the_configuration_has_every_key_as_proxy_toml_has_it() {
    let page = configuration();
    for section in SECTIONS {
        assert!(page.contains(&format!("[{}]", section.name)), "{}", section.name);
        for key in section.keys {
            let variable = variable(section.name, key);
            assert!(page.contains(&format!("`{variable}`")), "{variable}");
        }
    }
    hold("docs/configuration.md", &page);
}

/// Whether the key's default in `proxy.toml` is a truth value.
fn is_boolean(key: &str) -> bool {
    TEXT.lines()
        .filter_map(|line| commented(line)?.split_once(" = "))
        .any(|(name, value)| name == key && ["true", "false"].contains(&value))
}

/// The schema of the chart's `config`: the sections and their keys, with any value, which `tidegate check` judges. Only truth values
/// are told apart, for YAML takes a bare `off` for one.
fn config_schema() -> Value {
    let object = |properties| json!({ "type": "object", "additionalProperties": false, "properties": Value::Object(properties) });
    let mut sections = Map::new();
    for section in SECTIONS {
        let value = |key: &str| match is_boolean(key) {
            true => json!({ "type": ["boolean", "null"] }),
            false => json!({ "$ref": "#/$defs/value" }),
        };
        let keys = section.keys.iter().map(|key| ((*key).to_owned(), value(key)));
        let own = object(keys.collect());
        match section.name.split_once('.') {
            None if section.repeated => {
                let list = json!({ "type": "array", "items": own });
                sections.insert(section.name.to_owned(), list);
            }
            None => drop(sections.insert(section.name.to_owned(), own)),
            Some((outer, inner)) => {
                let outer = &mut sections[outer];
                let items = if outer["type"] == "array" {
                    &mut outer["items"]
                } else {
                    outer
                };
                items["properties"][inner] = own;
            }
        }
    }
    object(sections)
}

#[test]
fn the_charts_schema_knows_every_section_and_key() {
    const PATH: &str = "helm/tidegate/values.schema.json";
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(PATH);
    let mut schema: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    schema["$defs"]["config"] = config_schema();
    hold(PATH, &(serde_json::to_string_pretty(&schema).unwrap() + "\n"));
}

/// The code blocks of a page, fenced or indented.
fn code(text: &str) -> Vec<String> {
    let mut blocks = vec![String::new()];
    let mut is_fenced = false;
    for line in text.lines() {
        let indented = line.strip_prefix("    ");
        match (line.starts_with("```"), is_fenced, indented) {
            (true, ..) => {
                is_fenced = !is_fenced;
                blocks.push(String::new());
            }
            (false, true, _) => writeln!(blocks.last_mut().unwrap(), "{line}").unwrap(),
            (false, false, Some(line)) => writeln!(blocks.last_mut().unwrap(), "{line}").unwrap(),
            (false, false, None) if line.is_empty() => {}
            (false, false, None) => blocks.push(String::new()),
        }
    }
    blocks
}

/// Whether a block is a part of `proxy.toml`: it begins with one of its sections.
fn is_configuration(block: &str) -> bool {
    let first = block
        .lines()
        .find(|line| !line.starts_with('#'))
        .unwrap_or_default();
    let name = first
        .split(']')
        .next()
        .unwrap_or_default()
        .trim_start_matches('[');
    first.starts_with('[') && SECTIONS.iter().any(|section| section.name == name)
}

#[test]
fn configurations_in_the_pages_have_no_mistakes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = fs::read_dir(root.join("docs")).unwrap();
    let docs = docs.map(|entry| entry.unwrap().path());
    let mut seen = 0;
    for page in docs.chain([root.join("README.md")]).filter(|path| path.is_file()) {
        for block in code(&fs::read_to_string(&page).unwrap()) {
            if !is_configuration(&block) {
                continue;
            }
            seen += 1;
            let upstream = "[upstream]\nuri = 'mongodb://db1.example'\n";
            let whole = match block.contains("[upstream]") {
                true => block,
                false => format!("{upstream}{block}"),
            };
            let Err(mistakes) = load(&whole, &[]) else {
                continue;
            };
            // The files that it names are the reader's.
            let ours = mistakes.iter().map(ToString::to_string);
            let ours: Vec<_> = ours.filter(|mistake| !mistake.contains("No such file")).collect();
            assert!(ours.is_empty(), "{}: {whole}\n{ours:#?}", page.display());
        }
    }
    assert!(seen >= 8, "{seen} configurations were found");
}
