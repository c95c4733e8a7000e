// Names of what a run writes into its output folder, beside run.json and run.flags.
#pragma once

namespace lockstep {

// Of the model's folder, copied byte for byte; those that are there.
inline constexpr const char* kTokenizerFiles[] = {"tokenizer.json",
                                                  "tokenizer_config.json",
                                                  "special_tokens_map.json",
                                                  "added_tokens.json",
                                                  "tokenizer.model",
                                                  "vocab.json",
                                                  "merges.txt",
                                                  "chat_template.jinja",
                                                  "chat_template.json",
                                                  "generation_config.json"};

// The run's own.
inline constexpr const char* kOwnFiles[] = {"metrics.jsonl",
                                            "timings.jsonl",
                                            "report.html",
                                            "checkpoints",
                                            "adapter_model.safetensors",
                                            "adapter_config.json",
                                            "config.json",
                                            "model.safetensors",
                                            "model.safetensors.index.json"};

}  // namespace lockstep
