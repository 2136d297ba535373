"""Following faces from frame to frame and fusing what was predicted of them."""
