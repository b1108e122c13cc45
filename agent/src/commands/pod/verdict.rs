//! What plugins answered to a question.

use cni::Error;
use cni::libcni::{NetworkConfigList, RuntimeConf};
use cni::types::PluginError;
use serde::Serialize;

use crate::commands::output;
use crate::commands::pod::refusal;
use crate::failure::Failure;

/// The answer to CHECK or STATUS.
#[derive(Debug, Serialize)]
pub(super) struct Verdict<'a> {
    network: &'a str,
    cni_version: &'a str,
    #[serde(flatten)]
    attachment: Option<Attachment<'a>>,
    plugins: Vec<&'a str>,
    /// Whether plugins were asked at all.
    asked: bool,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Object>,
}

/// Whom it is about.
#[derive(Debug, Serialize)]
struct Attachment<'a> {
    container_id: &'a str,
    ifname: &'a str,
    netns: &'a str,
}

/// An error as a plugin gives it; what did not come from a plugin has no code.
#[derive(Debug, Serialize)]
struct Object {
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u32>,
    msg: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    details: String,
}

impl Object {
    fn of(error: &Error) -> Self {
        match error.plugin_error() {
            Some(PluginError { code, msg, details }) => {
                Self { code: Some(code.0), msg: msg.clone(), details: details.clone() }
            }
            None => Self { code: None, msg: error.to_string(), details: String::new() },
        }
    }
}

/// Whether a question was put to plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    /// It was.
    Asked,
    /// The network says not to, or speaks a version without it.
    Left,
}

/// Prints an answer as JSON. One that is not well is a failure as well.
pub(super) fn json(
    list: &NetworkConfigList,
    rt: Option<&RuntimeConf>,
    question: Question,
    answer: &Result<(), Error>,
) -> Result<(), Failure> {
    let attachment = rt.map(|rt| Attachment {
        container_id: &rt.container_id,
        ifname: &rt.if_name,
        netns: &rt.netns,
    });
    output::json(&Verdict {
        network: &list.name,
        cni_version: &list.cni_version,
        attachment,
        plugins: plugins(list),
        asked: question == Question::Asked,
        ok: answer.is_ok(),
        error: answer.as_ref().err().map(Object::of),
    })?;
    outcome(list, answer)
}

/// Makes a failure of an answer that is not well.
pub(super) fn outcome(list: &NetworkConfigList, answer: &Result<(), Error>) -> Result<(), Failure> {
    match answer {
        Ok(()) => Ok(()),
        Err(error) => Err(refusal::of_plugins(&list.name, error)),
    }
}

/// The types of a network's plugins, in order.
pub(super) fn plugins(list: &NetworkConfigList) -> Vec<&str> {
    list.plugins.iter().map(|plugin| plugin.network.plugin_type.as_str()).collect()
}
