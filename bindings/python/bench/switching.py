"""switching.py - switching tasks in a transformers model in place, beside C's emr_session_apply on the same
session and tensors, called with nothing around it; the two take turns. (Of two sessions, one is up to a tenth
faster than the other, by where its memory happens to lie.) Prints medians, and the ratio of the speeds.

    python bench/switching.py [--layers 12] [--hidden 768] [--vocab 30522] [--dtype bfloat16] [--rounds 15]
    [--threads 2]"""

import argparse
import os
import statistics
import tempfile
import time

os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")
import torch
import transformers

import libemr
from libemr._native import Arena, ffi, lib
from libemr.torch import Switcher


def model_of(options):
    config = transformers.BertConfig(
        vocab_size=options.vocab,
        hidden_size=options.hidden,
        num_hidden_layers=options.layers,
        num_attention_heads=options.hidden // 64,
        intermediate_size=4 * options.hidden,
    )
    return transformers.BertModel(config).to(getattr(torch, options.dtype)).eval()


def tuned(model, seed):
    noise = torch.Generator().manual_seed(seed)
    return {
        name: tensor
        if not tensor.is_floating_point()
        else (tensor.float() + 0.02 * torch.randn(tensor.shape, generator=noise)).to(tensor.dtype)
        for name, tensor in model.state_dict().items()
    }


class CSession:
    """A session's calls by C's function alone, into the same tensors."""

    def __init__(self, session, tensors):
        self.arena, self.count, self.error = Arena(), len(tensors), ffi.new("emr_error *")
        self.session = session._handle._pointer
        members = [
            {
                "name": self.arena.text(name),
                "data": ffi.cast("void *", tensor.data_ptr()),
                "count": tensor.numel(),
                "dtype": libemr.DType.of(tensor.dtype),
            }
            for name, tensor in tensors.items()
        ]
        self.weights = self.arena.structs("emr_weights", members)

    def apply(self, task):
        if lib.emr_session_apply(self.session, task, self.weights, self.count, self.error):
            raise RuntimeError(ffi.string(self.error.text))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for name, default in (
        ("layers", 12),
        ("hidden", 768),
        ("vocab", 30522),
        ("rounds", 15),
        ("threads", os.cpu_count()),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--modulator", default="mask")
    options = parser.parse_args()
    torch.manual_seed(0)
    model = model_of(options)
    base = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    tasks = {f"task{i}": tuned(model, i) for i in range(4)}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "all.emr")
        libemr.merge(base, tasks, path, modulator=options.modulator)
        del tasks
        bundle = libemr.Bundle(path)
        switcher = Switcher(model, bundle, base, threads=options.threads)
        session = CSession(switcher._engine._session, model.state_dict())
        times = {"C's call": [], "Switcher": []}
        for i in range(options.rounds + 2):
            name = f"task{i % 4}"
            works = [("C's call", session.apply, i % 4), ("Switcher", switcher.switch, name)]
            for what, work, of in works[:: 1 if i % 2 else -1]:
                begin = time.perf_counter()
                work(of)
                if i >= 2:
                    times[what].append(time.perf_counter() - begin)
    n = sum(tensor.numel() for tensor in base.values())
    print(
        f"{n / 1e6:.1f} M parameters in {options.dtype}, {options.modulator}, {options.threads} threads, "
        f"{options.rounds} rounds of 4 tasks"
    )
    for what, seconds in times.items():
        print(
            f"{what:10} median {1e3 * statistics.median(seconds):8.2f} ms, "
            f"fastest {1e3 * min(seconds):8.2f} ms"
        )
    ratios = [c / python for c, python in zip(times["C's call"], times["Switcher"])]
    print(f"speed of the Switcher, of C's call: {statistics.median(ratios):.3f} (median of rounds)")


if __name__ == "__main__":
    main()
