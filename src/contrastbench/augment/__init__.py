from contrastbench import torch_compat  # noqa: F401  (must come before torchvision, torchaudio, timm, lightning)
