//! The language of messages. JSON output and records are always English.

use std::sync::OnceLock;

use clap::ValueEnum;

/// The environment variable for the language; `--lang` overrides it.
pub const VARIABLE: &str = "STATETUNE_LANG";
/// The locale variables of the system, the strongest first.
const LOCALE: [&str; 3] = ["LC_ALL", "LC_MESSAGES", "LANG"];

/// The language of messages and explanations: English or simplified Chinese. A text without a translation stays
/// English.
#[expect(missing_docs, reason = "clap would expand every help with a text per variant")]
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, ValueEnum)]
pub enum Lang {
    #[default]
    En,
    Zh,
}

/// The language of this process.
static SPOKEN: OnceLock<Lang> = OnceLock::new();

impl Lang {
    /// The language set by a flag, by [`VARIABLE`] or by the locale, in this order. Empty variables count as unset.
    ///
    /// # Errors
    /// The value of [`VARIABLE`], if it is not a language.
    pub fn resolve(
        flag: Option<Lang>,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Lang, String> {
        let set = |name| variable(name).filter(|value| !value.is_empty());
        if let Some(lang) = flag {
            return Ok(lang);
        }
        if let Some(asked) = set(VARIABLE) {
            return <Lang as ValueEnum>::from_str(&asked, false).map_err(|_| asked);
        }
        let locale = LOCALE.into_iter().find_map(set).unwrap_or_default();
        Ok(if locale.starts_with("zh") { Lang::Zh } else { Lang::En })
    }

    /// Sets the language of this process; only the first call has an effect.
    pub fn speak(self) {
        SPOKEN.get_or_init(|| self);
    }

    /// The language of this process; English until it is set.
    pub fn spoken() -> Lang {
        SPOKEN.get().copied().unwrap_or_default()
    }

    /// The name in flags and variables.
    pub fn name(self) -> &'static str {
        match self {
            Lang::En => "en",
            Lang::Zh => "zh",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(flag: Option<Lang>, variables: &[(&str, &str)]) -> Result<Lang, String> {
        Lang::resolve(flag, |name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_strongest_setting_wins() {
        let all = [(VARIABLE, "en"), ("LC_ALL", "C"), ("LC_MESSAGES", "zh_CN"), ("LANG", "zh_TW")];
        assert_eq!(resolved(Some(Lang::Zh), &all), Ok(Lang::Zh));
        assert_eq!(resolved(None, &all), Ok(Lang::En));
        assert_eq!(resolved(None, &[(VARIABLE, "zh"), ("LC_ALL", "C")]), Ok(Lang::Zh));
        assert_eq!(resolved(None, &all[1..]), Ok(Lang::En));
        assert_eq!(resolved(None, &all[2..]), Ok(Lang::Zh));
        assert_eq!(resolved(None, &[("LC_ALL", ""), ("LANG", "zh_CN.UTF-8")]), Ok(Lang::Zh));
        assert_eq!(resolved(None, &[(VARIABLE, ""), ("LANG", "de_DE.UTF-8")]), Ok(Lang::En));
        assert_eq!(resolved(None, &[]), Ok(Lang::En));
    }

    #[test]
    fn an_unknown_language_is_refused() {
        assert_eq!(resolved(None, &[(VARIABLE, "fr")]), Err("fr".to_owned()));
        assert_eq!(resolved(None, &[(VARIABLE, "zh_CN")]), Err("zh_CN".to_owned()));
        assert_eq!(resolved(Some(Lang::En), &[(VARIABLE, "fr")]), Ok(Lang::En));
    }

    #[test]
    fn names_are_those_of_the_flag() {
        for lang in [Lang::En, Lang::Zh] {
            assert_eq!(<Lang as ValueEnum>::from_str(lang.name(), false), Ok(lang));
        }
    }
}
