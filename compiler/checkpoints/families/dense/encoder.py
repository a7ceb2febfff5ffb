"""Encoders: BERT, RoBERTa, XLM-RoBERTa, ModernBERT, Nomic BERT, GTE. They cache nothing and generate nothing.

vllm/model_executor/models/{bert,roberta,modernbert,bert_with_rope}.py of 0.33.0. Heads for scores and labels are kept
in float32 whatever the model is served in (vllm/config/model.py:head_dtype).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, auto

from compiler.checkpoints.architecture import Architecture, Layer, Linear, Module, Split, Table, Vector
from compiler.checkpoints.config import Config, ConfigError, head_dim_of
from compiler.checkpoints.families.activations import PLAIN, check_activation
from compiler.checkpoints.families.decoder import gated, layer_norms, plain, projections
from compiler.checkpoints.families.parts import Heads, dtype_of
from compiler.checkpoints.families.rotary import rotary_tables
from compiler.checkpoints.families.terms import check_value
from compiler.checkpoints.lengths import max_model_len
from compiler.checkpoints.rotary_table import RotaryTable

_LARGEST_LABELS = 2**20
_PROBLEMS = ("regression", "single_label_classification", "multi_label_classification")
_ANSWERS = "sbert_ce_default_activation_function"
_TORCH = "torch.nn.modules."


class Top(Enum):
    """What stands on an encoder."""

    NONE = auto()
    SEQUENCE = auto()
    TOKENS = auto()
    VOCABULARY = auto()


def _check_answers(config: Config) -> None:
    """What makes scores of a classifier's numbers (vllm/model_executor/layers/pooler/activations.py:get_act_fn)."""
    if config.data.get("problem_type") in _PROBLEMS:
        return
    inner = config.at("sentence_transformers")
    where, key = (inner, "activation_fn") if "activation_fn" in inner.data else (config, _ANSWERS)
    if not (name := where.text(key, default=_TORCH)).startswith(_TORCH):
        raise ConfigError(
            f"`{where.path}{key}` must be one of {_TORCH}, which are all that vLLM loads, not {name[:40]}"
        )


def labels(config: Config) -> int:
    """`num_labels`, which transformers takes from `id2label` where that is given; two by default."""
    _check_answers(config)
    named = config.data.get("id2label")
    if named is None:
        count = config.positive("num_labels", default=2)
    elif isinstance(named, Mapping | list) and named:
        count = len(named)
    else:
        raise ConfigError(f"`{config.path}id2label` must name the labels, not be {str(named)[:40]}")
    if count > _LARGEST_LABELS:
        raise ConfigError(f"`{config.path}num_labels` is {count}: no model has so many")
    return count


def classifier(name: str, outputs: int, inputs: int, *, bias: bool) -> tuple[Module, ...]:
    """A float32 head that no rank divides; its bias is float32 too."""
    weight = Vector(f"{name}.weight", outputs * inputs, dtype="F32")
    return (weight, Vector(f"{name}.bias", outputs, dtype="F32")) if bias else (weight,)


def bert(name: str, config: Config) -> Architecture:
    """BertModel: vLLM's embedding model leaves the pooler out."""
    return _bert(name, config, Top.NONE)


def bert_sequence(name: str, config: Config) -> Architecture:
    """BertForSequenceClassification: the pooler and a classifier."""
    hidden = config.positive("hidden_size")
    pooler = classifier("bert.pooler.dense", hidden, hidden, bias=True)
    return _bert(name, config, Top.SEQUENCE, pooler)


def bert_tokens(name: str, config: Config) -> Architecture:
    """BertForTokenClassification and RoBERTa's."""
    return _bert(name, config, Top.TOKENS)


def bert_vocabulary(name: str, config: Config) -> Architecture:
    """BertForMaskedLM: the decoder over the vocabulary is neither tied nor padded nor divided."""
    return _bert(name, config, Top.VOCABULARY)


def roberta_sequence(name: str, config: Config) -> Architecture:
    """RobertaForSequenceClassification: a dense layer and a classifier."""
    hidden = config.positive("hidden_size")
    top = (
        *classifier("classifier.dense", hidden, hidden, bias=True),
        *classifier("classifier.out_proj", labels(config), hidden, bias=True),
    )
    return _bert(name, config, Top.NONE, top)


def _bert(name: str, config: Config, top: Top, more: tuple[Module, ...] = ()) -> Architecture:
    hidden, width, vocab = (config.positive(key) for key in ("hidden_size", "intermediate_size", "vocab_size"))
    heads = _heads(config, hidden)
    _check_positions(name, config)
    check_activation(config, PLAIN)
    path = "attention.self"
    modules = (
        *projections(
            heads,
            hidden,
            (f"{path}.query", f"{path}.key", f"{path}.value"),
            "attention.output.dense",
            qkv_bias=True,
            out_bias=True,
        ),
        *layer_norms(hidden, "attention.output.LayerNorm", "output.LayerNorm"),
        *plain(width, hidden, "intermediate.dense", "output.dense", bias=True),
    )
    tables = (
        Table("embeddings.word_embeddings", vocab, hidden),
        Table("embeddings.position_embeddings", config.positive("max_position_embeddings", default=512), hidden),
        Table("embeddings.token_type_embeddings", config.positive("type_vocab_size", default=2), hidden),
        *layer_norms(hidden, "embeddings.LayerNorm"),
    )
    layers = (Layer(modules, ()),) * config.layers()
    return _encoder(name, config, layers, heads, width, around=(*tables, *more, *_top(config, top, hidden, vocab)))


def _check_positions(name: str, config: Config) -> None:
    """bert.py knows absolute positions only; the class of XLMRobertaModel asks for the key itself."""
    if name == "XLMRobertaModel" and "position_embedding_type" not in config:
        raise ConfigError(f"`{config.path}position_embedding_type` is missing, vLLM asks for it")
    kind = config.text("position_embedding_type", default="absolute")
    if kind != "absolute":
        raise ConfigError(f"`{config.path}position_embedding_type` must be absolute, {kind[:40]} is not accounted for")


def _top(config: Config, top: Top, hidden: int, vocab: int) -> tuple[Module, ...]:
    if top is Top.NONE:
        return ()
    if top is Top.VOCABULARY:
        return (
            Linear("mlm_head.dense", hidden, hidden, Split.REPLICATED, bias=True, quantized=False),
            *layer_norms(hidden, "mlm_head.layer_norm"),
            Linear("mlm_head.decoder", vocab, hidden, Split.REPLICATED, bias=True, quantized=False),
        )
    return classifier("classifier", labels(config), hidden, bias=True)


def _heads(config: Config, hidden: int) -> Heads:
    query = config.positive("num_attention_heads", "n_head")
    return Heads(query, query, head_dim_of(Config({}, config.path), hidden, query))


def _encoder(
    name: str,
    config: Config,
    layers: tuple[Layer, ...],
    heads: Heads,
    width: int,
    *,
    around: tuple[Module, ...],
    rotary: tuple[RotaryTable, ...] = (),
) -> Architecture:
    return Architecture(
        name=name,
        layers=layers,
        first=(),
        last=(),
        everywhere=around,
        hidden_size=heads.query * heads.dim,
        intermediate_size=width,
        num_attention_heads=heads.query,
        num_kv_heads=heads.kv,
        head_dim=heads.dim,
        vocab_size=config.positive("vocab_size"),
        tie_word_embeddings=False,
        max_model_len=max_model_len(config),
        checkpoint_dtype=dtype_of(config),
        rotary=rotary,
        layer_prefix="encoder.layer",
        pooling=True,
    )


def modernbert(name: str, config: Config) -> Architecture:
    """ModernBertModel."""
    return _modernbert(name, config, ())


def modernbert_sequence(name: str, config: Config) -> Architecture:
    """ModernBertForSequenceClassification: a dense layer, a norm and a classifier."""
    hidden, count = config.positive("hidden_size"), labels(config)
    bias, norm_bias = config.flag("classifier_bias"), config.flag("norm_bias")
    top = (
        *classifier("head.dense", hidden, hidden, bias=bias),
        Vector("head.norm.weight", hidden, dtype="F32"),
        *((Vector("head.norm.bias", hidden, dtype="F32"),) if norm_bias else ()),
        *classifier("classifier", count, hidden, bias=True),
    )
    return _modernbert(name, config, top)


def _modernbert(name: str, config: Config, top: tuple[Module, ...]) -> Architecture:
    hidden, width, vocab = (config.positive(key) for key in ("hidden_size", "intermediate_size", "vocab_size"))
    if "layer_types" in config:
        config.per_layer("layer_types", config.layers())
    heads, norm_bias = _heads(config, hidden), config.flag("norm_bias")
    bias, mlp_bias = config.flag("attention_bias"), config.flag("mlp_bias")
    shared = (
        *projections(heads, hidden, "attn.Wqkv", "attn.Wo", qkv_bias=bias, out_bias=bias),
        *gated(width, hidden, "mlp.Wi", "mlp.Wo", bias=mlp_bias),
        *layer_norms(hidden, "mlp_norm", bias=norm_bias),
    )
    # The first layer has no norm before attention: the embeddings have just been normalised.
    rest = Layer((*layer_norms(hidden, "attn_norm", bias=norm_bias), *shared), ())
    layers = (Layer(shared, ()), *(rest,) * (config.layers() - 1))
    around = (
        Table("embeddings.tok_embeddings", vocab, hidden),
        *layer_norms(hidden, "embeddings.norm", "final_norm", bias=norm_bias),
        *top,
    )
    rotary = rotary_tables(name, config, layers, heads.dim)
    return _encoder(name, config, layers, heads, width, around=around, rotary=rotary)


def _check_nomic(config: Config) -> None:
    """vllm/model_executor/models/config.py:NomicBertModelConfig."""
    biases = {key: config.flag(key, default=True) for key in ("mlp_fc1_bias", "mlp_fc2_bias", "qkv_proj_bias")}
    if len(set(biases.values())) > 1:
        told = ", ".join(f"{key} {str(value).lower()}" for key, value in biases.items())
        raise ConfigError(f"`{config.path}qkv_proj_bias`: vLLM's class has one bias for all, not {told}")
    check_value(config, "rotary_emb_scale_base", (None,))
    check_value(config, "rotary_emb_interleaved", (False,))


def modernbert_tokens(name: str, config: Config) -> Architecture:
    """ModernBertForTokenClassification: only the classifier itself is kept in float32."""
    hidden = config.positive("hidden_size")
    top = (
        Linear("head.dense", hidden, hidden, Split.REPLICATED, config.flag("classifier_bias"), quantized=False),
        *layer_norms(hidden, "head.norm", bias=config.flag("norm_bias")),
        *classifier("classifier", labels(config), hidden, bias=True),
    )
    return _modernbert(name, config, top)


def gte(name: str, config: Config) -> Architecture:
    """GteNewModel and GteModel (Snowflake's): rotary positions, gated MLPs of which the last projection has a bias."""
    return _gte(name, config, ())


def gte_sequence(name: str, config: Config) -> Architecture:
    """GteNewForSequenceClassification: a pooler and a classifier."""
    hidden = config.positive("hidden_size")
    top = (
        *classifier("new.pooler.dense", hidden, hidden, bias=True),
        *classifier("classifier", labels(config), hidden, bias=True),
    )
    return _gte(name, config, top)


def _gte(name: str, config: Config, top: tuple[Module, ...]) -> Architecture:
    if config.text("hidden_act", default="gelu") != "gelu":
        raise ConfigError(f"`{config.path}hidden_act` must be gelu: vLLM serves no other for this architecture")
    check_value(config, "position_embedding_type", ("rope", "rotary"))
    hidden, width, vocab = (config.positive(key) for key in ("hidden_size", "intermediate_size", "vocab_size"))
    heads, types = _heads(config, hidden), config.count("type_vocab_size", default=0)
    *ups, down = gated(width, hidden, "mlp.up_gate_proj", "mlp.down_proj")
    modules = (
        *projections(heads, hidden, "attention.qkv_proj", "attention.o_proj", qkv_bias=True, out_bias=True),
        *ups,
        down,
        Vector("mlp.down_proj.bias", hidden),
        *layer_norms(hidden, "attn_ln", "mlp_ln"),
    )
    around = (
        Table("embeddings.word_embeddings", vocab, hidden),
        *((Table("embeddings.token_type_embeddings", types, hidden),) if types else ()),
        *layer_norms(hidden, "embeddings.LayerNorm"),
        *top,
    )
    return _encoder(name, config, (Layer(modules, ()),) * config.layers(), heads, width, around=around)


def nomic_bert(name: str, config: Config) -> Architecture:
    """NomicBertModel without experts: `n_embd` and other keys of GPT-2 (models/config.py:NomicBertModelConfig)."""
    if config.count("moe_every_n_layers", default=0):
        raise ConfigError(f"`{config.path}moe_every_n_layers`: Nomic BERT with experts is not accounted for")
    _check_nomic(config)
    hidden, width = config.positive("n_embd"), config.positive("n_inner")
    heads, vocab, bias = (
        _heads(config, hidden),
        config.positive("vocab_size"),
        config.flag("qkv_proj_bias", default=True),
    )
    activation = config.text("activation_function", default="gelu")
    if activation not in ("swiglu", "gelu"):
        raise ConfigError(f"`{config.path}activation_function` must be swiglu or gelu, not {activation[:40]}")
    up = gated(width, hidden, ("mlp.fc11", "mlp.fc12"), "mlp.fc2", bias=bias)
    modules = (
        *projections(heads, hidden, "attn.Wqkv", "attn.out_proj", qkv_bias=bias, out_bias=bias),
        *(up if activation == "swiglu" else plain(width, hidden, "mlp.fc1", "mlp.fc2", bias=bias)),
        *layer_norms(hidden, "norm1", "norm2"),
    )
    types = config.count("type_vocab_size", default=2)
    around = (
        Table("embeddings.word_embeddings", vocab, hidden),
        *((Table("embeddings.token_type_embeddings", types, hidden),) if types else ()),
        *layer_norms(hidden, "emb_ln"),
    )
    layers, rotary = (Layer(modules, ()),) * config.layers("n_layer"), (RotaryTable(max_model_len(config), heads.dim),)
    return _encoder(name, config, layers, heads, width, around=around, rotary=rotary)
