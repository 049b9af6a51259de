"""SteinDiff's nodes for ComfyUI. Importing this package imports neither ComfyUI nor SteinDiff."""

from .nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
