// The forms in which a chat's messages reach a template: data files write them in several ways, of
// which templates know one or another.
#pragma once

#include <vector>

#include "data/jinja/value.h"

namespace lockstep::data {

// Content of nothing but text, in parts, [{"type": "text", "text": …}], as one string.
jinja::Value WithJoinedParts(const jinja::Value& messages);

// The same messages in forms that differ, the one that most templates know first: the arguments of
// tool calls as objects, else as the text of JSON that some templates put in as it is; no content
// (null, or none) as that, else as an empty string. One alone where there is neither.
std::vector<jinja::Value> MessageForms(const jinja::Value& messages);

// Content that is null, or none, as an empty string.
jinja::Value WithContent(const jinja::Value& messages);

}  // namespace lockstep::data
