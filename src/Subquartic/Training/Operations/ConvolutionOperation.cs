using System.Numerics.Tensors;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;

namespace Subquartic.Training.Operations;

/// <summary>Convolution of feature maps.</summary>
public static class ConvolutionOperation
{
    /// <summary>y = conv(x) + bias, as <see cref="KernelSet.Convolve"/> defines it.</summary>
    /// <param name="tape">The tape.</param>
    /// <param name="x">(B, H, W, inputs).</param>
    /// <param name="weight">(outputs, inputs, k, k) with k 1 or 3.</param>
    /// <param name="bias">(outputs), or null.</param>
    /// <param name="stride">1, or 2 for the encoder's down-sampling.</param>
    /// <param name="upsample">Whether the input is first doubled in height and width by repeating pixels.</param>
    /// <returns>(B, H', W', outputs).</returns>
    public static Variable Convolve(
        this Tape tape, Variable x, Parameter weight, Parameter? bias, int stride = 1, bool upsample = false)
    {
        KernelSet kernels = tape.Kernels;
        var shape = new ConvolutionShape(weight.Shape[1], weight.Shape[0], weight.Shape[2], stride, x.Height * (upsample ? 2 : 1) / stride);
        int height = x.Height * (upsample ? 2 : 1);
        int width = x.Width * (upsample ? 2 : 1);
        Variable y = tape.NewMap(
            x.Batch, shape.OutputSize(height), shape.OutputSize(width), shape.Outputs, x.NeedsGradient || weight.Trainable || bias is { Trainable: true });
        kernels.Convolve(x.Map, tape.Packed(weight, bias, shape, flipped: false), y.Map, new ConvolutionOptions { Upsample = upsample });
        tape.Record(y, () =>
        {
            if (x.NeedsGradient)
            {
                InputGradient(tape, x, y, weight, shape, upsample);
            }

            if (weight.Trainable)
            {
                kernels.ConvolveWeightGradient(x.Map, y.GradientMap, shape, upsample, weight.GradientMatrix);
            }

            if (bias is { Trainable: true })
            {
                kernels.AddRows(y.Gradient, bias.Gradient.Span());
            }
        });
        return y;
    }

    // Gradients travel through the turned convolution. Stride 2 reads y[r] from rows 2r … 2r + 2 of x, so the gradient of row p comes from the
    // rows (p - d) / 2: a convolution over a map that holds dy at odd places and zeros elsewhere. Repeated pixels sum their gradients.
    private static void InputGradient(Tape tape, Variable x, Variable y, Parameter weight, in ConvolutionShape shape, bool upsample)
    {
        KernelSet kernels = tape.Kernels;
        FeatureMap dy = y.GradientMap;
        int factor = upsample ? 2 : 1;
        int height = x.Height * factor;
        int width = x.Width * factor;
        var back = new ConvolutionShape(shape.Outputs, shape.Inputs, shape.Kernel, 1, height);
        PackedConvolution pack = tape.Packed(weight, null, back, flipped: true);
        using Scratch spread = Scratch.Rent(shape.Stride == 2 ? (long)x.Batch * height * width * shape.Outputs : 0);
        if (shape.Stride == 2)
        {
            FeatureMap wide = spread.Buffer.FeatureMap(x.Batch, height, width, shape.Outputs);
            FeatureMap narrow = dy;
            kernels.Pool.For(x.Batch * height, line =>
            {
                (int b, int row) = Math.DivRem(line, height);
                wide.Buffer.Span(wide.Offset + (long)line * width * wide.Channels, width * wide.Channels).Clear();
                for (int column = 0; row % 2 == 1 && row / 2 < narrow.Height && column < narrow.Width; column++)
                {
                    narrow.Pixel(b, row / 2, column).CopyTo(wide.Pixel(b, row, 2 * column + 1));
                }
            });
            dy = wide;
        }

        FeatureMap dx = x.AsMap(x.GradientTarget(out bool add));
        if (!upsample)
        {
            kernels.Convolve(dy, pack, dx, new ConvolutionOptions { Residual = add ? dx : default });
            return;
        }

        using Scratch large = Scratch.Rent((long)x.Batch * height * width * shape.Inputs);
        FeatureMap repeated = large.Buffer.FeatureMap(x.Batch, height, width, shape.Inputs);
        kernels.Convolve(dy, pack, repeated);
        kernels.Pool.For(x.Batch * x.Height, line =>
        {
            (int b, int row) = Math.DivRem(line, x.Height);
            for (int column = 0; column < x.Width; column++)
            {
                // Four neighbours came from one pixel.
                Span<float> upper = repeated.Pixel(b, 2 * row, 2 * column);
                TensorPrimitives.Add(upper, repeated.Pixel(b, 2 * row, 2 * column + 1), upper);
                TensorPrimitives.Add(upper, repeated.Pixel(b, 2 * row + 1, 2 * column), upper);
                Span<float> target = dx.Pixel(b, row, column);
                TensorPrimitives.Add(upper, repeated.Pixel(b, 2 * row + 1, 2 * column + 1), add ? upper : target);
                if (add)
                {
                    TensorPrimitives.Add(target, upper, target);
                }
            }
        });
    }
}
