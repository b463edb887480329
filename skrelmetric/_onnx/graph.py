"""Operators of a model that is being made."""

from typing import Any

import numpy as np

__all__ = ["Graph", "onnx_type"]


class Graph:
    """Model that is being made, of the container of skl2onnx and names in its scope.

    Called with an operator and its inputs, which are names of results or arrays, it returns the name of the result, or
    of several.
    """

    def __init__(self, scope: Any, container: Any):
        self.scope, self.container = scope, container
        container.node_domain_version_pair_sets.add(("", 13))  # the oldest that has all operators as they are used

    def __call__(self, operator: str, *inputs: Any, n_outputs: int = 1, **attributes: Any) -> Any:
        outputs = [self.scope.get_unique_variable_name(operator.lower()) for _ in range(n_outputs)]
        self.add(operator, [self._name(each) for each in inputs], outputs, **attributes)
        return outputs[0] if n_outputs == 1 else outputs

    def add(self, operator: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        """Add a node between names that there are."""
        name = self.scope.get_unique_operator_name(operator)
        self.container.add_node(operator, inputs, outputs, name=name, **attributes)

    def cast(self, value: str, dtype: Any) -> str:
        """A result in another dtype."""
        return self("Cast", value, to=onnx_type(dtype))

    def _name(self, value: Any) -> str:
        if isinstance(value, str):
            return value
        from onnx.numpy_helper import from_array

        array = np.asarray(value)
        texts = array.dtype.kind in "OU"
        name = self.scope.get_unique_variable_name("constant")
        content = array.ravel().tolist() if texts else from_array(np.asarray(array, order="C"))
        self.container.add_initializer(name, onnx_type(object if texts else array.dtype), array.shape, content)
        return name


def onnx_type(dtype: Any) -> int:
    from onnx.helper import np_dtype_to_tensor_dtype

    return np_dtype_to_tensor_dtype(np.dtype(dtype))
