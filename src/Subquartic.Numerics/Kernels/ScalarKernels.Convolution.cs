using System.Runtime.InteropServices;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;

namespace Subquartic.Numerics.Kernels;

internal sealed partial class ScalarKernels
{
    public override PackedConvolution PackConvolution(
        in ConvolutionShape shape, ReadOnlySpan<float> weight, ReadOnlySpan<float> bias, PackedConvolution? reuse = null)
    {
        Check.ConvolutionWeights(shape, weight, bias, reuse, this);
        PackedConvolution packed = reuse ?? new PackedConvolution(Name, shape, ConvolutionAlgorithm.Direct, weight.Length);
        packed.SetBias(bias);
        weight.CopyTo(packed.Weights.Span());
        return packed;
    }

    public override void Convolve(FeatureMap x, PackedConvolution convolution, FeatureMap y, in ConvolutionOptions options = default)
    {
        Check.Convolve(x, convolution, y, options, this);
        ConvolutionShape shape = convolution.Shape;
        int up = options.Upsample ? 2 : 1;
        int padding = shape.Kernel == 3 && shape.Stride == 1 ? 1 : 0;
        ReadOnlySpan<float> weight = convolution.Weights.Span();
        using Scratch scratch = Scratch.Rent(2L * x.Height * x.Width * x.Channels);
        Span<double> input = MemoryMarshal.Cast<float, double>(scratch.Buffer.Span());
        for (int b = 0; b < y.Batch; b++)
        {
            Activate(x.Image(b), options, b, input);
            for (int row = 0; row < y.Height; row++)
            {
                for (int column = 0; column < y.Width; column++)
                {
                    Span<float> result = y.Pixel(b, row, column);
                    for (int o = 0; o < shape.Outputs; o++)
                    {
                        double sum = convolution.Bias[o];
                        for (int dy = 0; dy < shape.Kernel; dy++)
                        {
                            for (int dx = 0; dx < shape.Kernel; dx++)
                            {
                                int sy = row * shape.Stride + dy - padding;
                                int sx = column * shape.Stride + dx - padding;
                                if (sy < 0 || sx < 0 || sy >= x.Height * up || sx >= x.Width * up)
                                {
                                    continue;
                                }

                                ReadOnlySpan<double> source = input.Slice((sy / up * x.Width + sx / up) * x.Channels, x.Channels);
                                for (int i = 0; i < shape.Inputs; i++)
                                {
                                    sum += source[i] * weight[((o * shape.Inputs + i) * shape.Kernel + dy) * shape.Kernel + dx];
                                }
                            }
                        }

                        if (options.Residual.Buffer is not null)
                        {
                            sum += options.Residual.Pixel(b, row, column)[o];
                        }

                        result[o] = (float)sum;
                    }
                }
            }
        }
    }

    public override void ConvolveWeightGradient(FeatureMap x, FeatureMap dy, in ConvolutionShape shape, bool upsample, Matrix dWeight)
    {
        Check.ConvolveWeightGradient(x, dy, shape, upsample, dWeight);
        int up = upsample ? 2 : 1;
        int taps = shape.Kernel * shape.Kernel;
        int padding = shape.Kernel == 3 && shape.Stride == 1 ? 1 : 0;
        for (int o = 0; o < shape.Outputs; o++)
        {
            for (int i = 0; i < shape.Inputs; i++)
            {
                for (int tap = 0; tap < taps; tap++)
                {
                    double sum = dWeight.Row(o)[i * taps + tap];
                    for (int pixel = 0; pixel < dy.Batch * dy.Height * dy.Width; pixel++)
                    {
                        (int line, int column) = Math.DivRem(pixel, dy.Width);
                        (int image, int row) = Math.DivRem(line, dy.Height);
                        int sy = row * shape.Stride + tap / shape.Kernel - padding;
                        int sx = column * shape.Stride + tap % shape.Kernel - padding;
                        if (sy >= 0 && sx >= 0 && sy < x.Height * up && sx < x.Width * up)
                        {
                            sum += (double)dy.Pixel(image, row, column)[o] * x.Pixel(image, sy / up, sx / up)[i];
                        }
                    }

                    dWeight.Row(o)[i * taps + tap] = (float)sum;
                }
            }
        }
    }

    public override void GroupNorm(
        FeatureMap x, ReadOnlySpan<float> weight, ReadOnlySpan<float> bias, int groups, float epsilon, Matrix scale, Matrix shift)
    {
        Check.GroupNorm(x, weight, bias, groups, scale, shift);
        int width = x.Channels / groups;
        for (int b = 0; b < x.Batch; b++)
        {
            Matrix pixels = x.Image(b).Pixels();
            for (int g = 0; g < groups; g++)
            {
                double sum = 0;
                for (int i = 0; i < pixels.Rows; i++)
                {
                    foreach (float value in pixels.Row(i).Slice(g * width, width))
                    {
                        sum += value;
                    }
                }

                double mean = sum / ((double)pixels.Rows * width);
                double squares = 0;
                for (int i = 0; i < pixels.Rows; i++)
                {
                    foreach (float value in pixels.Row(i).Slice(g * width, width))
                    {
                        squares += (value - mean) * (value - mean);
                    }
                }

                double inverse = 1 / Math.Sqrt(squares / ((double)pixels.Rows * width) + epsilon);
                for (int c = g * width; c < (g + 1) * width; c++)
                {
                    scale.Row(b)[c] = (float)(inverse * weight[c]);
                    shift.Row(b)[c] = (float)(bias[c] - mean * inverse * weight[c]);
                }
            }
        }
    }

    public override void ScaleShift(FeatureMap x, Matrix scale, Matrix shift, bool silu, FeatureMap y)
    {
        Check.ScaleShift(x, scale, shift, y);
        for (int b = 0; b < x.Batch; b++)
        {
            Matrix source = x.Image(b).Pixels();
            Matrix target = y.Image(b).Pixels();
            ReadOnlySpan<float> factor = scale.Row(b);
            ReadOnlySpan<float> offset = shift.Row(b);
            for (int i = 0; i < source.Rows; i++)
            {
                for (int c = 0; c < source.Columns; c++)
                {
                    double value = (double)source.Row(i)[c] * factor[c] + offset[c];
                    target.Row(i)[c] = (float)(silu ? value / (1 + Math.Exp(-value)) : value);
                }
            }
        }
    }

    private static void Activate(FeatureMap x, in ConvolutionOptions options, int image, Span<double> result)
    {
        ReadOnlySpan<float> source = x.Span();
        for (int i = 0; i < source.Length; i++)
        {
            double value = source[i];
            if (options.Scale.Buffer is not null)
            {
                value = value * options.Scale.Row(image)[i % x.Channels] + options.Shift.Row(image)[i % x.Channels];
            }

            result[i] = options.Silu ? value / (1 + Math.Exp(-value)) : value;
        }
    }
}
