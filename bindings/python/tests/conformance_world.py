"""conformance_world.py - what the steps of a case share, and which keys each step may have."""

from conformance_bundles import Bundles
from conformance_methods import Methods
from conformance_models import Models
from conformance_support import expect_keys, option

KEYS = """
model: model tensors metadata
zeros: model like
ones: model like
rename: model of rules
pick: model of tensors
read: model chunk floats
roles: model
write: file model format
open: model file format dequantise
bytes: file hex
damage: file of at xor cut
adapter: model base adapter
agree: models differ
convert: from to count seed
quantise: type count seed
names: names
globs: globs
elementary: values
constants:
save: model path shard_bytes replace dtype
load: model path map dequantise side_files
load_bundle: bundle path map
exists: path
merge: bundle base tasks modulations options policy extend push sink memory path replace journal
bundle: bundle file
look: bundle
drop: bundle of tasks
extract: bundle of tasks
verify: bundle
check_base: bundle base all
task: model bundle task base dtype check f32_vectors
view: model bundle of task
modulator: bundle base task dtype
own_modulator: kind count rows seed dtype columns
session: session bundle base without_base check mask_bytes
apply: session task weights thread
multiply: session tensor tasks columns seed first_row n_rows n_columns without_base add thread
gather: session tensor tasks rows row dtype without_base n_columns thread
combine: model method tasks base parameters dtype seed on_nonfinite policy heads combine_heads memory
methods:
statistics: base tasks quantiles max_rows skip_missing rounding on_nonfinite policy
search: models scores k partner pool max_generations stop_kinship minimise
trials: n_trials n_values seed minimise
heads: heads globs tasks base kinds dtype
softmax: logits rows stride groups
"""
KEYS_OF = {step: keys for step, _, keys in (line.partition(":") for line in KEYS.strip().splitlines())}


class World(Models, Bundles, Methods):
    """What the steps of a case share. A step is a method of its name, whose result is compared."""

    def __init__(self, threads, folder):
        self.threads, self.folder = threads, folder
        self.models, self.files, self.bundles, self.sessions, self.tensors, self.folders = (
            {},
            {},
            {},
            {},
            {},
            {},
        )

    def tasks(self, step):
        return [(name, self.models[model]) for name, model in step["tasks"]]

    def policy(self, step):
        return option(
            step.get("policy", {}),
            "base_globs",
            "on_mismatch",
            "on_missing",
            private_globs="private",
            merge_globs="merge",
            absent_globs="absent",
        )


def do_step(world, step):
    """Its results."""
    assert step["do"] in KEYS_OF, f"unknown step {step['do']}"
    expect_keys(step, f"do expect error {KEYS_OF[step['do']]}")
    return getattr(world, step["do"])(step) or {}
