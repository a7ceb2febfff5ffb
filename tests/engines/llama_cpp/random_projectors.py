"""Projectors with random weights that the real server loads and reads images with: one of each kind of tower.

The keys and tensors are those that tools/mtmd/clip.cpp of b10435 asks for.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from compiler.gguf.model import GgufModel, Tensor
from tests.engines.llama_cpp.random_models import EMBEDDING
from tests.gguf.writer import Typed, Value, encoded, padded, tensor, write


@dataclass(frozen=True)
class Size:
    """Of a tower: layers, its embeddings' width, heads, the FFN's, pixels of a patch's side, and the model's width."""

    layers: int = 4
    width: int = 128
    heads: int = 2
    inner: int = 192
    patch: int = 16
    outer: int = EMBEDDING


TINY = Size()


@dataclass
class Projector:
    """A projector that is being put together; its images are so many pixels wide."""

    kind: str
    tower: Size = TINY
    size: int = 224
    keys: dict[str, Value] = field(default_factory=dict)
    tensors: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.keys = {
            "general.architecture": "clip",
            "general.type": "mmproj",
            "clip.has_vision_encoder": True,
            "clip.projector_type": self.kind,
            "clip.use_gelu": True,
        }
        counts = {
            "image_size": self.size,
            "patch_size": self.tower.patch,
            "embedding_length": self.tower.width,
            "block_count": self.tower.layers,
        }
        counts |= {
            "feed_forward_length": self.tower.inner,
            "projection_dim": self.tower.outer,
            "attention.head_count": self.tower.heads,
        }
        self.set({**counts, "attention.layer_norm_epsilon": 1e-6})
        self.set({name: Typed("f32", [0.5] * 3) for name in ("image_mean", "image_std")})

    def set(self, keys: Mapping[str, Value]) -> None:
        """Set keys of the tower."""
        self.keys.update({f"clip.vision.{key}": value for key, value in keys.items()})

    def add(self, tensors: Mapping[str, tuple[int, ...]], type_: str = "f32") -> None:
        """Add tensors."""
        self.tensors += [tensor(name, type_, *shape) for name, shape in tensors.items()]

    def add_matrix(self, name: str, inner: int, outer: int, *, biased: bool = True, type_: str = "f16") -> None:
        """Add a matrix and its bias."""
        self.add({f"{name}.weight": (inner, outer)}, type_)
        if biased:
            self.add({f"{name}.bias": (outer,)})

    def add_norm(self, name: str, width: int | None = None, *, biased: bool = True) -> None:
        """Add a norm."""
        self.add(
            {f"{name}.{part}": (width or self.tower.width,) for part in (("weight", "bias") if biased else ("weight",))}
        )

    def add_patches(self, *, biased: bool = True, places: int = 0, twice: bool = False) -> None:
        """Add what makes patches, and learned places of so many."""
        names = ("v.patch_embd.weight", "v.patch_embd.weight.1")
        self.add(
            dict.fromkeys(names[: 2 if twice else 1], (self.tower.patch, self.tower.patch, 3, self.tower.width)), "f16"
        )
        if biased:
            self.add({"v.patch_embd.bias": (self.tower.width,)})
        if places:
            self.add({"v.position_embd.weight": (self.tower.width, places)})

    def add_layers(
        self, *, biased: bool = True, gated: bool = False, fused: bool = False, norm_bias: bool = True
    ) -> None:
        """Add layers."""
        for layer in range(self.tower.layers):
            name = f"v.blk.{layer}"
            for norm in ("ln1", "ln2"):
                self.add_norm(f"{name}.{norm}", biased=norm_bias)
            for part in ("attn_qkv",) if fused else ("attn_q", "attn_k", "attn_v"):
                self.add_matrix(
                    f"{name}.{part}", self.tower.width, (3 if fused else 1) * self.tower.width, biased=biased
                )
            self.add_matrix(f"{name}.attn_out", self.tower.width, self.tower.width, biased=biased)
            for part in ("ffn_gate", "ffn_up") if gated else ("ffn_up",):
                self.add_matrix(f"{name}.{part}", self.tower.width, self.tower.inner, biased=biased)
            self.add_matrix(f"{name}.ffn_down", self.tower.inner, self.tower.width, biased=biased)

    @property
    def model(self) -> GgufModel:
        """As its header is read."""
        plain = {key: value.value if isinstance(value, Typed) else value for key, value in self.keys.items()}
        return GgufModel({k: tuple(v) if isinstance(v, list) else v for k, v in plain.items()}, tuple(self.tensors), 0)  # type: ignore[misc]

    def write_sparse(self, path: Path) -> None:
        """Write the file with holes for weights, which take no disk."""
        write(path, self.keys, self.tensors)

    def write(self, path: Path, seed: int = 1) -> None:
        """Write the file, with weights that are the same for a seed."""
        numbers = random.Random(seed)
        with path.open("wb") as file:
            file.write(encoded(self.keys, self.tensors))
            for each in self.tensors:
                data = bytes(each.bytes)
                if each.type.name == "f32":
                    data = array("f", (numbers.gauss(0.0, 0.02) for _ in range(each.bytes // 4))).tobytes()
                file.write(data.ljust(padded(len(data)), b"\0"))


def gemma_3(tower: Size = TINY) -> Projector:
    """SigLIP, and the mean of four by four patches."""
    made = Projector("gemma3", tower, 16 * tower.patch)
    made.set({"projector.scale_factor": 4})
    made.add_patches(places=256)
    made.add_layers()
    made.add_norm("v.post_ln")
    made.add({"mm.input_projection.weight": (tower.outer, tower.width)}, "f16")
    made.add({"mm.soft_emb_norm.weight": (tower.width,)})
    return made


def gemma_4(tower: Size = TINY) -> Projector:
    """Norms before and after, two coordinates, clamps."""
    made = Projector("gemma4v", tower, 14 * tower.patch)
    made.set({"projector.scale_factor": 3})
    made.add_patches(biased=False)
    made.add({"v.position_embd.weight": (tower.width, 64, 2)})
    made.add_layers(biased=False, gated=True, norm_bias=False)
    for layer in range(tower.layers):
        for name in ("attn_post_norm", "ffn_post_norm"):
            made.add_norm(f"v.blk.{layer}.{name}", biased=False)
        for name in ("attn_q_norm", "attn_k_norm"):
            made.add_norm(f"v.blk.{layer}.{name}", tower.width // tower.heads, biased=False)
    made.add_matrix("mm.input_projection", tower.width, tower.outer, biased=False)
    return made


def idefics_3(tower: Size = TINY) -> Projector:
    """SigLIP, and four by four patches side by side."""
    made = Projector("idefics3", tower, 16 * tower.patch)
    made.set({"projector.scale_factor": 4, "preproc_image_size": 32 * tower.patch})
    made.add_patches(places=256)
    made.add_layers()
    made.add_norm("v.post_ln")
    made.add_matrix("mm.model.fc", 16 * tower.width, tower.outer, biased=False)
    return made


def intern_vl(tower: Size = TINY) -> Projector:
    """A token of a class, scaled layers."""
    made = Projector("internvl", tower, 14 * tower.patch)
    made.set({"projector.scale_factor": 2})
    made.add_patches()
    made.add({"v.position_embd.weight": (tower.width, 14 * 14 + 1), "v.class_embd": (tower.width,)})
    made.add_layers()
    for layer in range(tower.layers):
        made.add({f"v.blk.{layer}.{name}.weight": (tower.width,) for name in ("ls1", "ls2")})
    made.add_norm("mm.model.mlp.0", 4 * tower.width)
    made.add_matrix("mm.model.mlp.1", 4 * tower.width, tower.outer)
    made.add_matrix("mm.model.mlp.3", tower.outer, tower.outer)
    return made


def lfm_2(tower: Size = TINY) -> Projector:
    """SigLIP 2, whose places are brought to the image's form."""
    made = Projector("lfm2", tower, 16 * tower.patch)
    made.set({"projector.scale_factor": 2})
    made.add_patches(places=256)
    made.add_layers()
    made.add_norm("v.post_ln")
    made.add_norm("mm.input_norm", 4 * tower.width)
    made.add_matrix("mm.1", 4 * tower.width, 3 * tower.width)
    made.add_matrix("mm.2", 3 * tower.width, tower.outer)
    return made


def pixtral(tower: Size = TINY, *, merges: bool = True) -> Projector:
    """Two coordinates, and a token at the end of each row."""
    made = Projector("pixtral", tower, 32 * tower.patch)
    made.add_patches(biased=False)
    made.add_layers(biased=False, gated=True, norm_bias=False)
    made.add_norm("v.pre_ln", biased=False)
    if merges:
        made.set({"spatial_merge_size": 2})
        made.add_norm("mm.input_norm", biased=False)
        made.add_matrix("mm.patch_merger", 4 * tower.width, tower.width, biased=False)
    made.add_matrix("mm.1", tower.width, tower.outer)
    made.add_matrix("mm.2", tower.outer, tower.outer)
    made.add({"v.token_embd.img_break": (tower.outer,)})
    return made


def pixtral_whole(tower: Size = TINY) -> Projector:
    """The older one, which merges nothing."""
    return pixtral(tower, merges=False)


def _qwen(tower: Size, kind: str, *, window: int = 0, deep: int = 0) -> Projector:
    is_third, is_windowed = kind.startswith("qwen3"), window > 0
    made = Projector(kind, tower, 35 * tower.patch)
    made.set({"n_wa_pattern": window} if is_windowed else {})
    made.add_patches(biased=is_third, places=35 * 35 if is_third else 0, twice=True)
    made.add_layers(gated=is_windowed, fused=is_third, norm_bias=not is_windowed)
    made.add_norm("v.post_ln", biased=not is_windowed)
    made.add_matrix("mm.0", 4 * tower.width, 4 * tower.width)
    made.add_matrix("mm.2", 4 * tower.width, tower.outer)
    for layer in range(deep):
        made.add_norm(f"v.deepstack.{layer}.norm", 4 * tower.width)
        made.add_matrix(f"v.deepstack.{layer}.fc1", 4 * tower.width, 4 * tower.width)
        made.add_matrix(f"v.deepstack.{layer}.fc2", 4 * tower.width, tower.outer)
    return made


def qwen_2_vl(tower: Size = TINY) -> Projector:
    """Four coordinates."""
    return _qwen(tower, "qwen2vl_merger")


def qwen_2_5_vl(tower: Size = TINY) -> Projector:
    """Windows in every second layer."""
    return _qwen(tower, "qwen2.5vl_merger", window=2)


def qwen_3_vl(tower: Size = TINY, *, deep: int = 2) -> Projector:
    """So many layers whose outputs are embeddings too."""
    return _qwen(tower, "qwen3vl_merger", deep=deep)


def kimi_vl(tower: Size = TINY) -> Projector:
    """Learned places and two coordinates."""
    made = Projector("kimivl", tower, 32 * tower.patch)
    made.set({"projector.scale_factor": 2})
    made.add_patches(places=32 * 32)
    made.add_layers()
    made.add_norm("v.post_ln")
    made.add_norm("mm.input_norm")
    made.add_matrix("mm.1", 4 * tower.width, 4 * tower.width)
    made.add_matrix("mm.2", 4 * tower.width, tower.outer)
    return made


def glm_4v(tower: Size = TINY) -> Projector:
    """Four coordinates, and a convolution that merges patches."""
    made = Projector("glm4v", tower, 24 * tower.patch)
    made.add_patches(places=24 * 24, twice=True)
    made.add_norm("v.norm_embd", biased=False)
    made.add_layers(biased=False, gated=True, fused=True, norm_bias=False)
    made.add_norm("v.post_ln", biased=False)
    made.add({"mm.patch_merger.weight": (2, 2, tower.width, tower.outer)}, "f16")
    made.add({"mm.patch_merger.bias": (tower.outer,)})
    made.add_matrix("mm.model.fc", tower.outer, tower.outer, biased=False)
    made.add_norm("mm.post_norm", tower.outer)
    for name in ("mm.up", "mm.gate"):
        made.add_matrix(name, tower.outer, tower.inner, biased=False)
    made.add_matrix("mm.down", tower.inner, tower.outer, biased=False)
    return made


def llama_4(tower: Size = TINY) -> Projector:
    """A token of a class, two coordinates, tiles."""
    made = Projector("llama4", tower, 14 * tower.patch)
    made.set({"projector.scale_factor": 2})
    made.add({"v.patch_embd.weight": (3 * tower.patch**2, tower.width)}, "f16")
    made.add({"v.position_embd.weight": (tower.width, 14 * 14 + 1), "v.class_embd": (tower.width,)})
    made.add_layers()
    for name in ("v.pre_ln", "v.post_ln"):
        made.add_norm(name)
    made.add_matrix("mm.model.mlp.1", 4 * tower.width, 2 * tower.width, biased=False)
    made.add_matrix("mm.model.mlp.2", 2 * tower.width, 2 * tower.width, biased=False)
    made.add_matrix("mm.model.fc", 2 * tower.width, tower.outer, biased=False)
    return made


PROJECTORS: Mapping[str, Callable[..., Projector]] = {
    each.__name__: each
    for each in (
        *(gemma_3, gemma_4, idefics_3, intern_vl, lfm_2, pixtral, pixtral_whole),
        *(qwen_2_vl, qwen_2_5_vl, qwen_3_vl, kimi_vl, glm_4v, llama_4),
    )
}
OF_FAMILY: Mapping[str, str] = {
    "glm_4v": "qwen2vl",
    "qwen_2_vl": "qwen2vl",
    "qwen_2_5_vl": "qwen2vl",
    "qwen_3_vl": "qwen3vl",
}
"""The model that reads what comes of a projector; `llama` for the others."""
