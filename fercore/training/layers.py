"""Layers that several networks share: the same arithmetic as Keras's own, in the way that is quick under PyTorch."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="fercore")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras's batch normalisation, computed in one pass over the data under PyTorch.

    Keras composes it from a dozen operations there, which take a third of a MobileNet's training step. Under another backend,
    and with options beyond the usual ones, it is Keras's own. PyTorch keeps the unbiased variance as the moving one, which
    is larger by 1 / (values of a channel - 1).
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Return the normalised inputs, of any rank, channels last."""
        last = self.axis in (-1, len(inputs.shape) - 1)
        usual = last and mask is None and self.scale and self.center and not getattr(self, "renorm", False)
        if keras.backend.backend() != "torch" or not usual:
            return super().call(inputs, training=training, mask=mask)
        import torch

        values = torch.nn.functional.batch_norm(
            keras.ops.convert_to_tensor(inputs).movedim(-1, 1),
            self.moving_mean.value,
            self.moving_variance.value,
            self.gamma.value,
            self.beta.value,
            training=bool(training) and self.trainable,
            momentum=1 - self.momentum,
            eps=self.epsilon,
        )
        return values.movedim(1, -1)


@keras.saving.register_keras_serializable(package="fercore")
class Conv2D(keras.layers.Conv2D):
    """Keras's convolution, which under PyTorch copies its input twice to come to the same order of channels."""

    def call(self, inputs: Any) -> Any:
        """Return the convolved inputs (N, rows, columns, filters)."""
        if not _usual(self) or self.groups > 1:
            return super().call(inputs)
        return self.activation(_convolved(self, inputs, groups=1))


@keras.saving.register_keras_serializable(package="fercore")
class DepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """Keras's depthwise convolution, without those copies; on a processor, one with strides is computed without them.

    Every second answer is then kept: on a processor, PyTorch's gradient of a strided depthwise convolution in bfloat16 takes
    thirty times as long as that of one without strides, which was 200 of the 510 ms of all convolutions of a MobileNet's step.
    """

    def call(self, inputs: Any) -> Any:
        """Return the convolved inputs (N, rows, columns, channels)."""
        if not _usual(self) or self.depth_multiplier > 1:
            return super().call(inputs)
        return self.activation(_convolved(self, inputs, groups=inputs.shape[-1]))


def _usual(layer: Any) -> bool:
    """Tell whether ``_convolved`` can stand in for the layer's own way."""
    odd = all(side % 2 for side in layer.kernel_size)
    padding = layer.padding == "valid" or (layer.padding == "same" and odd and max(layer.strides) == 1)
    plain = layer.data_format == "channels_last" and set(layer.dilation_rate) == {1}
    return keras.backend.backend() == "torch" and plain and padding


def _convolved(layer: Any, inputs: Any, groups: int) -> Any:
    import torch

    kernel = keras.ops.convert_to_tensor(layer.kernel)
    kernel = kernel.permute(2, 3, 0, 1) if groups > 1 else kernel.permute(3, 2, 0, 1)
    padding = [side // 2 for side in layer.kernel_size] if layer.padding == "same" else 0
    inputs = keras.ops.convert_to_tensor(inputs).permute(0, 3, 1, 2)
    strided = groups == 1 or max(layer.strides) == 1 or inputs.is_cuda
    values = torch.nn.functional.conv2d(
        inputs,
        kernel.contiguous(memory_format=torch.channels_last),
        keras.ops.convert_to_tensor(layer.bias) if layer.use_bias else None,
        stride=tuple(layer.strides) if strided else 1,
        padding=padding,
        groups=groups,
    ).permute(0, 2, 3, 1)
    return values if strided else values[:, :: layer.strides[0], :: layer.strides[1]].contiguous()


FAST = {
    keras.layers.BatchNormalization: BatchNormalization,
    keras.layers.Conv2D: Conv2D,
    keras.layers.DepthwiseConv2D: DepthwiseConv2D,
}


def with_fast_layers(model: keras.Model) -> keras.Model:
    """Return a fresh copy of a model, names kept, whose layers are the ones above where it has their like."""

    def copied(layer: keras.layers.Layer) -> keras.layers.Layer:
        return FAST.get(type(layer), type(layer)).from_config(layer.get_config())

    return keras.models.clone_model(model, clone_function=copied)
