// Names in a model's folder, as Hugging Face lays it out, that several layers know.
#pragma once

namespace lockstep {

// A folder of chat templates besides the model's own one: NAME.jinja.
inline constexpr char kMoreTemplates[] = "additional_chat_templates";

}  // namespace lockstep
