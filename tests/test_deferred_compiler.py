"""torch's compiler stays unloaded in a job, and is there for whoever compiles something."""

import subprocess
import sys

JOB = """
import sys
import contrastbench.training.loop, contrastbench.models.encoders
import torch
weight = torch.nn.Parameter(torch.ones(3))
optimizer = torch.optim.Adam([weight], lr=0.5)
optimizer.zero_grad(set_to_none=True)
(weight ** 2).sum().backward()
optimizer.step()
optimizer.load_state_dict(optimizer.state_dict())
assert torch.allclose(weight, torch.full((3,), 0.5)), weight
assert "torch._dynamo.symbolic_convert" not in sys.modules, "the compiler was loaded"
"""
USED = {
    "compile": "assert torch.compile(lambda x: x + 1, backend='eager')(torch.zeros(2)).tolist() == [1, 1]",
    "attribute": "assert torch._dynamo.config.cache_size_limit > 0",
    "module": "import torch._dynamo.config as config; assert config.cache_size_limit > 0",
    "from": "from torch._dynamo.utils import counters; assert counters is torch._dynamo.utils.counters",
    "torchvision": "from torchvision.ops.roi_align import is_compile_supported; assert is_compile_supported('cpu')",
}
LOADED = """
import torch._dynamo
assert torch._dynamo is sys.modules["torch._dynamo"] and "torch._dynamo.symbolic_convert" in sys.modules
assert torch._dynamo.utils is sys.modules["torch._dynamo.utils"]
weight.grad = torch.ones(3); optimizer.step()
"""


def python(code: str) -> None:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_training_step_loads_no_compiler_and_every_use_of_it_does():
    branches = "\n".join(f"if os.fork() == 0:\n    {use}\n    exec(LOADED)\n    os._exit(0)" for use in USED.values())
    reap = f"assert [os.wait()[1] for _ in range({len(USED)})] == [0] * {len(USED)}"
    python(f"import os\nLOADED = {LOADED!r}\n{JOB}\n{branches}\n{reap}")
