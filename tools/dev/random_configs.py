"""Configurations of random small models in every family, and LoRA options for them, as functions of
a random number generator; random_goldens.py and check_training.py draw from them."""

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "phi3", "gemma2", "gemma3_text")
ARCHITECTURES = {
    "llama": "LlamaForCausalLM", "mistral": "MistralForCausalLM", "qwen2": "Qwen2ForCausalLM",
    "qwen3": "Qwen3ForCausalLM", "phi3": "Phi3ForCausalLM", "gemma2": "Gemma2ForCausalLM",
    "gemma3_text": "Gemma3ForCausalLM"
}


def rope(rng, family, head_dim, config):
    """RoPE in one of its spellings, into config."""
    theta = rng.choice([10000.0, 500000.0, 333.0])
    kinds = ["default", "default", "linear", "llama3", "dynamic"]
    if family == "phi3":
        kinds = ["default", "longrope"]
    elif family in ("llama", "qwen2", "qwen3"):
        kinds += ["yarn", "longrope"]
    kind = rng.choice(kinds)
    longest = config["max_position_embeddings"]
    scaling = {"rope_type": kind}
    share = 1.0
    if family == "phi3" and rng.random() < 0.5:
        share = rng.choice([0.5, 0.75])
        config["partial_rotary_factor"] = share
    if kind in ("linear", "dynamic"):
        scaling["factor"] = rng.choice([2.0, 4.0, 2.5])
        if kind == "dynamic" and rng.random() < 0.7:
            config["max_position_embeddings"] = 16  # shorter than the documents
    elif kind == "llama3":
        scaling.update(factor=rng.choice([8.0, 32.0]), low_freq_factor=1.0, high_freq_factor=4.0,
                       original_max_position_embeddings=rng.choice([32, 64]))
    elif kind == "yarn":
        scaling.update(factor=4.0)
        if rng.random() < 0.7:
            scaling["original_max_position_embeddings"] = longest // 4
        if rng.random() < 0.3:
            scaling.update(beta_fast=16.0, beta_slow=2.0)
        if rng.random() < 0.3:
            scaling.update(mscale=0.7, mscale_all_dim=0.9)
        elif rng.random() < 0.3:
            scaling["attention_factor"] = 1.3
        if rng.random() < 0.3:
            scaling["truncate"] = False
    elif kind == "longrope":
        n = int(head_dim * share) // 2
        scaling.update(short_factor=[round(1 + 0.1 * rng.random(), 3) for _ in range(n)],
                       long_factor=[round(1 + 4 * rng.random(), 3) for _ in range(n)])
        original = rng.choice([24, 48])
        if family == "phi3" or rng.random() < 0.5:
            config["original_max_position_embeddings"] = original
        else:
            scaling["original_max_position_embeddings"] = original
        if family != "phi3" and rng.random() < 0.3:
            scaling["attention_factor"] = 1.2
    if family == "gemma3_text":
        local = rng.choice([10000.0, 100.0])
        if rng.random() < 0.5:
            config["rope_theta"], config["rope_local_base_freq"] = theta, local
            if kind != "default":
                config["rope_scaling"] = scaling
        else:
            config["rope_parameters"] = {
                "full_attention": {**scaling, "rope_theta": theta},
                "sliding_attention": {"rope_type": "default", "rope_theta": local}
            }
    elif rng.random() < 0.5:
        config["rope_theta"] = theta
        if kind != "default":
            if rng.random() < 0.4:
                scaling["type"] = scaling.pop("rope_type")
                if family == "phi3" and rng.random() < 0.5:
                    scaling["type"] = "su"
            config["rope_scaling"] = scaling
    else:
        config["rope_parameters"] = {**scaling, "rope_theta": theta}
        if share != 1.0 and rng.random() < 0.5:
            config["rope_parameters"]["partial_rotary_factor"] = config.pop("partial_rotary_factor")
    return kind


def model_config(rng, family):
    kv = rng.choice([1, 2, 3])
    heads = kv * rng.choice([1, 2, 3])
    head_dim = rng.choice([8, 16, 24])
    own_head_dim = family not in ("phi3", "qwen2") and rng.random() < 0.6
    width = heads * rng.choice([8, 12, 16]) if own_head_dim or family in (
        "qwen3", "gemma2", "gemma3_text") else heads * head_dim
    config = dict(model_type=family, architectures=[ARCHITECTURES[family]
                                                   ], vocab_size=rng.choice([61, 97, 128, 131]),
                  hidden_size=width, intermediate_size=rng.choice([24, 37, 56]),
                  num_hidden_layers=rng.choice([1, 2, 3]) if family != "gemma3_text" else 4,
                  num_attention_heads=heads, num_key_value_heads=kv, max_position_embeddings=128,
                  rms_norm_eps=rng.choice([1e-5, 1e-6]), tie_word_embeddings=rng.random() < 0.5,
                  bos_token_id=1, eos_token_id=rng.choice([2, [2, 3]]),
                  pad_token_id=rng.choice([0, 5]), torch_dtype="float32")
    if width != heads * head_dim or family in ("qwen3", "gemma2", "gemma3_text"):
        config["head_dim"] = head_dim
    layers = config["num_hidden_layers"]
    activation = rng.choice(6 * ["silu", "gelu_pytorch_tanh"] + ["gelu_new", "swish", "gelu"])
    config["hidden_activation" if family.startswith("gemma") else "hidden_act"] = activation
    if family in ("llama", "qwen3", "gemma2", "gemma3_text"):
        config["attention_bias"] = rng.random() < 0.4
    if family == "llama":
        config["mlp_bias"] = rng.random() < 0.4
    window = rng.choice([1, 3, 7, 16])
    if family in ("mistral", "phi3"):
        config["sliding_window"] = rng.choice([None, window])
    if family in ("qwen2", "qwen3"):
        config.update(use_sliding_window=rng.random() < 0.6, sliding_window=window,
                      max_window_layers=rng.choice([0, 1, layers]))
        if rng.random() < 0.3 and config["use_sliding_window"]:
            config["layer_types"] = [
                rng.choice(["full_attention", "sliding_attention"]) for _ in range(layers)
            ]
    if family.startswith("gemma"):
        config.update(sliding_window=window, query_pre_attn_scalar=rng.choice([8, 13, 256]))
        if rng.random() < 0.3:
            config["layer_types"] = [
                rng.choice(["full_attention", "sliding_attention"]) for _ in range(layers - 1)
            ]
            config["layer_types"].append("full_attention")
        elif family == "gemma3_text":
            config["sliding_window_pattern"] = rng.choice([2, 3, 6])
        if rng.random() < 0.7:
            config["final_logit_softcapping"] = rng.choice([None, 30.0, 2.0])
        if rng.random() < 0.7 and family == "gemma2":
            config["attn_logit_softcapping"] = rng.choice([None, 50.0, 1.0])
    kind = rope(rng, family, head_dim, config)
    return config, kind


def projections(family):
    """The names of attention's linear layers, and of the MLP's."""
    fused = family == "phi3"
    attention = ["qkv_proj", "o_proj"] if fused else ["q_proj", "k_proj", "v_proj", "o_proj"]
    mlp = ["gate_up_proj", "down_proj"] if fused else ["gate_proj", "up_proj", "down_proj"]
    return attention, mlp


def lora_config(rng, family, config):
    attention, mlp = projections(family)
    target = rng.choice([
        "all-linear", attention + mlp,
        rng.sample(attention + mlp, 2), attention[:1], r".*\.(" + "|".join(mlp) + ")",
        r"model\.layers\.0\..*proj", attention + ["lm_head"], attention + ["embed_tokens"],
        ["embed_tokens", "lm_head"] + mlp
    ])
    options = dict(task_type="CAUSAL_LM", r=rng.choice([1, 2, 5, 8]),
                   lora_alpha=rng.choice([1, 8, 16, 7]), target_modules=target,
                   use_rslora=rng.random() < 0.3, use_dora=rng.random() < 0.3)
    listed = isinstance(target, list)
    layers = config["num_hidden_layers"]
    if listed and layers > 1 and rng.random() < 0.25:
        options["layers_to_transform"] = rng.choice([[0], [layers - 1], 1])
        options["layers_pattern"] = rng.choice([None, "layers", ["layers"]])
    if rng.random() < 0.3:
        options["rank_pattern"] = rng.choice([{mlp[-1]: 3},
                                              {r"layers\.0\.self_attn\.o_proj": 7,
                                               "o_proj": 2}, {"^model.layers.0.mlp.down_proj": 6},
                                              {r"model\.layers\.\d\.mlp\..*": 4}])
    if rng.random() < 0.3:
        options["alpha_pattern"] = rng.choice([{mlp[-1]: 3}, {r"layers\.0\..*": 5},
                                               {attention[0]: 1}])
    if rng.random() < 0.2 and target == "all-linear":
        options["exclude_modules"] = rng.choice([["down_proj"], r".*o_proj", [attention[0]]])
    if rng.random() < 0.25 and not (listed and {"lm_head", "embed_tokens"} & set(target)):
        options["modules_to_save"] = rng.choice([["lm_head"], ["embed_tokens"],
                                                 ["lm_head", "embed_tokens"]])
    if rng.random() < 0.15:
        options["bias"] = rng.choice(["lora_only", "all"])
    return options
