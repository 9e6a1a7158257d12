using Subquartic.Generation;
using Subquartic.Training;
using Subquartic.Training.Operations;

namespace Subquartic.Tests.Training.Operations;

public class AutoencoderOperationsTests
{
    [Fact]
    public void Mean_over_pixels()
    {
        const int batch = 2;
        const int pixels = 15;
        const int channels = 3;
        GradientCheck.Run(
            [GradientCheck.Uniform(1, batch * pixels * channels)],
            o => [.. Enumerable.Range(0, batch * channels).Select(n =>
                Enumerable.Range(0, pixels).Average(i => o[0][(n / channels * pixels + i) * channels + n % channels]))],
            (tape, o) =>
            {
                Variable x = GradientCheck.LeafMap(tape, o[0], batch, 5, 3, channels);
                return (tape.MeanPool(x), _ => x.Gradient.Span().ToArray());
            });
    }

    [Theory]
    [InlineData(3, 1, false, 4, 3)]
    [InlineData(3, 1, true, 3, 2)]
    [InlineData(3, 2, false, 4, 6)]
    [InlineData(1, 1, false, 3, 5)]
    public void Convolution(int kernel, int stride, bool upsample, int height, int width)
    {
        const int batch = 2;
        const int inputs = 3;
        const int outputs = 2;
        int up = upsample ? 2 : 1;
        int outHeight = height * up / stride;
        int outWidth = width * up / stride;
        int padding = kernel == 3 && stride == 1 ? 1 : 0;
        GradientCheck.Run(
            [GradientCheck.Uniform(1, batch * height * width * inputs), GradientCheck.Uniform(2, outputs * inputs * kernel * kernel), GradientCheck.Uniform(3, outputs)],
            o => [.. Enumerable.Range(0, batch * outHeight * outWidth * outputs).Select(n =>
            {
                (int c, int column, int row, int b) = (n % outputs, n / outputs % outWidth, n / outputs / outWidth % outHeight, n / outputs / outWidth / outHeight);
                double sum = o[2][c];
                for (int dy = 0; dy < kernel; dy++)
                {
                    for (int dx = 0; dx < kernel; dx++)
                    {
                        int sy = row * stride + dy - padding;
                        int sx = column * stride + dx - padding;
                        for (int i = 0; i < inputs && sy >= 0 && sx >= 0 && sy < height * up && sx < width * up; i++)
                        {
                            sum += o[0][((b * height + sy / up) * width + sx / up) * inputs + i] * o[1][((c * inputs + i) * kernel + dy) * kernel + dx];
                        }
                    }
                }

                return sum;
            })],
            (tape, o) =>
            {
                Variable x = GradientCheck.LeafMap(tape, o[0], batch, height, width, inputs);
                Parameter weight = GradientCheck.Parameter(o[1], outputs, inputs, kernel, kernel);
                Parameter bias = GradientCheck.Parameter(o[2], outputs);
                Variable y = tape.Convolve(x, weight, bias, stride, upsample);
                return (y, i => i switch
                {
                    0 => x.Gradient.Span().ToArray(),
                    1 => weight.Gradient.Span().ToArray(),
                    _ => bias.Gradient.Span().ToArray(),
                });
            });
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Group_norm(bool silu)
    {
        const int batch = 2;
        const int pixels = 6;
        const int channels = 16;
        const int groups = 4;
        GradientCheck.Run(
            [GradientCheck.Uniform(1, batch * pixels * channels), GradientCheck.Uniform(2, channels), GradientCheck.Uniform(3, channels)],
            o =>
            {
                var y = new double[batch * pixels * channels];
                for (int b = 0; b < batch; b++)
                {
                    for (int g = 0; g < groups; g++)
                    {
                        int[] places = [.. from p in Enumerable.Range(0, pixels) from c in Enumerable.Range(g * 4, 4) select (b * pixels + p) * channels + c];
                        double mean = places.Average(n => o[0][n]);
                        double deviation = Math.Sqrt(places.Average(n => (o[0][n] - mean) * (o[0][n] - mean)) + 1e-6f);
                        foreach (int n in places)
                        {
                            double z = (o[0][n] - mean) / deviation * o[1][n % channels] + o[2][n % channels];
                            y[n] = silu ? z / (1 + Math.Exp(-z)) : z;
                        }
                    }
                }

                return y;
            },
            (tape, o) =>
            {
                Variable x = GradientCheck.LeafMap(tape, o[0], batch, 2, 3, channels);
                Parameter weight = GradientCheck.Parameter(o[1], channels);
                Parameter bias = GradientCheck.Parameter(o[2], channels);
                Variable y = tape.GroupNorm(x, weight, bias, silu, groups);
                return (y, i => i == 0 ? x.Gradient.Span().ToArray() : (i == 1 ? weight : bias).Gradient.Span().ToArray());
            });
    }

    [Fact]
    public void Bicubic_enlargement_is_linear_and_its_backward_pass_the_transpose()
    {
        // <y, B x> = <B^T y, x> for the map itself is what the central differences check; the forward pass has tests of its own.
        const int channels = 2;
        double[] x = GradientCheck.Uniform(1, 2 * 3 * 2 * channels);
        double[] bases = [.. x];
        GradientCheck.Run(
            [bases],
            o =>
            {
                using var source = Subquartic.Numerics.Tensors.FloatBuffer.Of([.. o[0].Select(v => (float)v)]);
                using var target = new Subquartic.Numerics.Tensors.FloatBuffer(2 * 5 * 7 * channels);
                Subquartic.Numerics.Kernels.Interpolation.Bicubic(source.FeatureMap(2, 3, 2, channels), target.FeatureMap(2, 5, 7, channels));
                return [.. target.Span().ToArray().Select(v => (double)v)];
            },
            (tape, o) =>
            {
                Variable leaf = GradientCheck.LeafMap(tape, o[0], 2, 3, 2, channels);
                return (tape.Bicubic(leaf, 5, 7), _ => leaf.Gradient.Span().ToArray());
            },
            tolerance: 1e-3); // the forward pass rounds to float32, which the differences magnify by 1 / step
    }

    [Fact]
    public void Quantiser_passes_gradients_straight_through_and_trains_codes_and_phi()
    {
        const int batch = 2;
        const int channels = 3;
        const double beta = 0.25;
        ScaleSchedule scales = ScaleSchedule.Square(1, 2, 3);
        int[] phiOfScale = [0, 0, 1];
        double[] f = GradientCheck.Uniform(1, batch * 9 * channels);
        double[] codebook = GradientCheck.Uniform(2, 6 * channels);
        double[] weights = GradientCheck.Uniform(3, 2 * channels * channels * 9, 0.3);
        double[] biases = GradientCheck.Uniform(4, 2 * channels, 0.1);
        double[][] operands = [f, codebook, weights, biases];
        operands = [.. operands.Select(o => o.Select(v => (double)(float)v).ToArray())];
        using var tape = new Tape(Subquartic.Numerics.Kernels.KernelSet.Create("scalar", 1));
        (Quantized result, Variable leaf, Parameter[] trained) = Run(tape, operands, scales, phiOfScale, beta);
        float[] upper = [.. GradientCheck.Uniform(5, batch * 9 * channels).Select(v => (float)v)];
        upper.CopyTo(result.FHat.Gradient.Span());
        tape.Backward();

        // With tokens fixed, the loss is smooth; f appears in it only where the gradient may pass: the commitment term, and straight through.
        double Loss(double[][] o, double[] anchor, double[] codesAnchor)
        {
            double[][] sums = PartialSums(o, result.Tokens, scales, phiOfScale, batch, channels);
            double[][] fixedSums = PartialSums([o[0], codesAnchor, weights, biases], result.Tokens, scales, phiOfScale, batch, channels);
            double loss = upper.Select((u, n) => u * o[0][n]).Sum();
            for (int k = 0; k < scales.Count; k++)
            {
                loss += beta * fixedSums[k].Select((s, n) => (s - o[0][n]) * (s - o[0][n])).Average() / scales.Count;
                loss += sums[k].Select((s, n) => (s - anchor[n]) * (s - anchor[n])).Average() / scales.Count;
            }

            return loss;
        }

        weights = operands[2];
        biases = operands[3];
        double[] f0 = [.. operands[0]];
        double[] codes0 = [.. operands[1]];
        float[][] gradients =
        [
            leaf.Gradient.Span().ToArray(), trained[0].Gradient.Span().ToArray(),
            [.. trained[1].Gradient.Span().ToArray(), .. trained[3].Gradient.Span().ToArray()],
            [.. trained[2].Gradient.Span().ToArray(), .. trained[4].Gradient.Span().ToArray()],
        ];
        double[] w0 = [.. weights];
        double[] b0 = [.. biases];
        for (int o = 0; o < 4; o++)
        {
            for (int i = 0; i < operands[o].Length; i++)
            {
                double At(double h)
                {
                    double[][] moved = [.. operands.Select(v => v.ToArray())];
                    moved[o][i] += h;
                    weights = w0;
                    biases = b0;
                    return Loss(moved, f0, codes0);
                }

                Assert.Equal((At(1e-4) - At(-1e-4)) / 2e-4, gradients[o][i], 2e-5);
            }
        }
    }

    private static (Quantized Result, Variable Leaf, Parameter[] Trained) Run(
        Tape tape, double[][] operands, ScaleSchedule scales, int[] phiOfScale, double beta)
    {
        const int channels = 3;
        Subquartic.Numerics.Tensors.FloatBuffer[] buffers =
            [.. operands.Select(o => Subquartic.Numerics.Tensors.FloatBuffer.Of([.. o.Select(v => (float)v)]))];
        Variable leaf = GradientCheck.LeafMap(tape, buffers[0], 2, 3, 3, channels);
        Parameter codebook = GradientCheck.Parameter(buffers[1], 6, channels);
        var phi = new (Parameter Weight, Parameter Bias)[2];
        for (int p = 0; p < 2; p++)
        {
            using var weight = Subquartic.Numerics.Tensors.FloatBuffer.Of(buffers[2].Span(p * channels * channels * 9, channels * channels * 9));
            using var bias = Subquartic.Numerics.Tensors.FloatBuffer.Of(buffers[3].Span(p * channels, channels));
            phi[p] = (GradientCheck.Parameter(weight, channels, channels, 3, 3), GradientCheck.Parameter(bias, channels));
        }

        Quantized result = tape.Quantize(leaf, codebook, phi, phiOfScale, 0.5f, byAngle: false, scales, beta);
        return (result, leaf, [codebook, phi[0].Weight, phi[0].Bias, phi[1].Weight, phi[1].Bias]);
    }

    /// <summary>f_1 … f_K in double for given tokens.</summary>
    private static double[][] PartialSums(double[][] o, int[] tokens, ScaleSchedule scales, int[] phiOfScale, int batch, int channels)
    {
        var sums = new double[scales.Count][];
        var sum = new double[batch * 9 * channels];
        for (int k = 0; k < scales.Count; k++)
        {
            int side = scales[k].Height;
            for (int b = 0; b < batch; b++)
            {
                double[,,] large = new double[3, 3, channels];
                for (int y = 0; y < 3; y++)
                {
                    for (int x = 0; x < 3; x++)
                    {
                        for (int c = 0; c < channels; c++)
                        {
                            double Code(int row, int column) =>
                                o[1][tokens[b * scales.Tokens + scales.Start(k) + Math.Clamp(row, 0, side - 1) * side + Math.Clamp(column, 0, side - 1)] * channels + c];
                            double sy = (y + 0.5) * side / 3 - 0.5;
                            double sx = (x + 0.5) * side / 3 - 0.5;
                            for (int i = -1; i <= 2; i++)
                            {
                                for (int j = -1; j <= 2; j++)
                                {
                                    int row = (int)Math.Floor(sy) + i;
                                    int column = (int)Math.Floor(sx) + j;
                                    large[y, x, c] += Keys(sy - row) * Keys(sx - column) * Code(row, column);
                                }
                            }
                        }
                    }
                }

                int p = phiOfScale[k];
                for (int y = 0; y < 3; y++)
                {
                    for (int x = 0; x < 3; x++)
                    {
                        for (int c = 0; c < channels; c++)
                        {
                            double conv = o[3][p * channels + c];
                            for (int t = 0; t < 9; t++)
                            {
                                int row = y + t / 3 - 1;
                                int column = x + t % 3 - 1;
                                for (int i = 0; i < channels && row is >= 0 and < 3 && column is >= 0 and < 3; i++)
                                {
                                    conv += large[row, column, i] * o[2][((p * channels + c) * channels + i) * 9 + t];
                                }
                            }

                            sum[((b * 3 + y) * 3 + x) * channels + c] += 0.5 * large[y, x, c] + 0.5 * conv;
                        }
                    }
                }
            }

            sums[k] = [.. sum];
        }

        return sums;
    }

    private static double Keys(double x)
    {
        const double a = -0.75;
        x = Math.Abs(x);
        return x <= 1 ? (a + 2) * x * x * x - (a + 3) * x * x + 1 : x < 2 ? a * (x * x * x - 5 * x * x + 8 * x - 4) : 0;
    }
}
