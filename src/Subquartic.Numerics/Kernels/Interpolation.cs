using System.Numerics;
using System.Runtime.CompilerServices;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Numerics.Kernels;

/// <summary>Resizing of feature maps between any two sizes, each image and channel on its own. The maps resized while drawing
/// are small (at most one value per token and channel), so one implementation with double sums serves every kernel set: lanes are channels,
/// and each channel is summed as a plain loop would.</summary>
public static unsafe class Interpolation
{
    // Output columns whose taps and weights are found at once and serve all rows.
    private const int Strip = 64;

    // The parameter of Keys' cubic convolution as PyTorch's interpolate(mode='bicubic') has it.
    private const double CubicParameter = -0.75;

    /// <summary>Cubic convolution with a = -0.75 and half-pixel centres: output i reads around (i + 0.5) * in / out - 0.5, with
    /// taps beyond the border taken from the border and no low-pass filter when shrinking
    /// (VAR models/quant.py, F.interpolate(mode='bicubic')).</summary>
    /// <param name="x">(B, H, W, C).</param>
    /// <param name="y">(B, H', W', C), any H' and W'; a copy when the sizes are equal.</param>
    /// <exception cref="ArgumentException">Batch or channels differ, or the input is empty.</exception>
    public static void Bicubic(FeatureMap x, FeatureMap y)
    {
        RequireSameBatchAndChannels(x, y);
        Cubic* across = stackalloc Cubic[Strip];
        for (int left = 0; left < y.Width; left += Strip)
        {
            int columns = Cubic.Fill(across, left, Strip, x.Width, y.Width);
            for (int line = 0; line < y.Batch * y.Height; line++)
            {
                (int b, int row) = Math.DivRem(line, y.Height);
                Cubic down = Cubic.At(row, x.Height, y.Height);
                float* source = x.Pointer + (nint)b * x.Height * x.Width * x.Channels;
                float* result = y.Pointer + ((nint)line * y.Width + left) * y.Channels;
                for (int column = 0; column < columns; column++, result += y.Channels)
                {
                    WeighTaps(source, x.Width, x.Channels, down, across[column], result);
                }
            }
        }

        GC.KeepAlive(x.Buffer);
        GC.KeepAlive(y.Buffer);
    }

    /// <summary>The transpose of <see cref="Bicubic"/>, which carries gradients back: x += B^T y, where B is the linear map from x to y.</summary>
    /// <param name="y">(B, H', W', C): gradient of the resized map.</param>
    /// <param name="x">(B, H, W, C): gradient of the map before, added to.</param>
    /// <exception cref="ArgumentException">Batch or channels differ, or <paramref name="x"/> is empty.</exception>
    public static void AddBicubicTransposed(FeatureMap y, FeatureMap x)
    {
        RequireSameBatchAndChannels(x, y);
        Cubic* across = stackalloc Cubic[Strip];
        for (int left = 0; left < y.Width; left += Strip)
        {
            int columns = Cubic.Fill(across, left, Strip, x.Width, y.Width);
            for (int line = 0; line < y.Batch * y.Height; line++)
            {
                (int b, int row) = Math.DivRem(line, y.Height);
                Cubic down = Cubic.At(row, x.Height, y.Height);
                float* target = x.Pointer + (nint)b * x.Height * x.Width * x.Channels;
                float* gradient = y.Pointer + ((nint)line * y.Width + left) * y.Channels;
                for (int column = 0; column < columns; column++, gradient += y.Channels)
                {
                    for (int tap = 0; tap < 16; tap++)
                    {
                        float weight = (float)(down.Weights[tap / 4] * across[column].Weights[tap % 4]);
                        AddMultiple(weight, gradient, target + (down.Taps[tap / 4] * x.Width + across[column].Taps[tap % 4]) * x.Channels, x.Channels);
                    }
                }
            }
        }

        GC.KeepAlive(x.Buffer);
        GC.KeepAlive(y.Buffer);
    }

    /// <summary>Mean over windows with integer ends: output i averages the inputs [floor(i * in / out), ceil((i + 1) * in / out)),
    /// which overlap where out does not divide in (VAR models/quant.py, F.interpolate(mode='area')).</summary>
    /// <param name="x">(B, H, W, C).</param>
    /// <param name="y">(B, H', W', C), any H' and W'.</param>
    /// <exception cref="ArgumentException">Batch or channels differ, or the input is empty.</exception>
    public static void Area(FeatureMap x, FeatureMap y)
    {
        RequireSameBatchAndChannels(x, y);
        for (int b = 0; b < y.Batch; b++)
        {
            for (int row = 0; row < y.Height; row++)
            {
                (int top, int bottom) = Window(row, x.Height, y.Height);
                for (int column = 0; column < y.Width; column++)
                {
                    (int left, int right) = Window(column, x.Width, y.Width);
                    float* result = y.Pointer + (((nint)b * y.Height + row) * y.Width + column) * y.Channels;
                    double count = (double)(bottom - top) * (right - left);
                    int c = 0;
                    for (; c + Vector<float>.Count <= x.Channels; c += Vector<float>.Count)
                    {
                        Vector<double> low = Vector<double>.Zero;
                        Vector<double> high = Vector<double>.Zero;
                        for (int i = top; i < bottom; i++)
                        {
                            float* source = x.Pointer + (((nint)b * x.Height + i) * x.Width + left) * x.Channels + c;
                            for (int j = left; j < right; j++, source += x.Channels)
                            {
                                Vector.Widen(Vector.Load(source), out Vector<double> first, out Vector<double> second);
                                low += first;
                                high += second;
                            }
                        }

                        Vector.Narrow(low / new Vector<double>(count), high / new Vector<double>(count)).Store(result + c);
                    }

                    for (; c < x.Channels; c++)
                    {
                        double sum = 0;
                        for (int i = top; i < bottom; i++)
                        {
                            for (int j = left; j < right; j++)
                            {
                                sum += x.Pixel(b, i, j)[c];
                            }
                        }

                        result[c] = (float)(sum / count);
                    }
                }
            }
        }

        GC.KeepAlive(x.Buffer);
        GC.KeepAlive(y.Buffer);
    }

    /// <summary>Doubles height and width by repeating pixels (VAR models/basic_vae.py, Upsample2x.forward). A convolution that
    /// follows does this itself (<see cref="ConvolutionOptions.Upsample"/>).</summary>
    /// <param name="x">(B, H, W, C).</param>
    /// <param name="y">(B, 2H, 2W, C).</param>
    /// <exception cref="ArgumentException">The output has another size.</exception>
    public static void NearestDouble(FeatureMap x, FeatureMap y)
    {
        RequireSameBatchAndChannels(x, y);
        if (y.Height != 2 * x.Height || y.Width != 2 * x.Width)
        {
            throw new ArgumentException($"{x.Height} x {x.Width} doubled is not {y.Height} x {y.Width}.", nameof(y));
        }

        for (int b = 0; b < y.Batch; b++)
        {
            for (int row = 0; row < y.Height; row++)
            {
                for (int column = 0; column < y.Width; column++)
                {
                    x.Pixel(b, row / 2, column / 2).CopyTo(y.Pixel(b, row, column));
                }
            }
        }
    }

    /// <summary>All channels of one output: the sum of four lines of four taps each.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void WeighTaps(float* source, int width, int channels, in Cubic down, in Cubic across, float* result)
    {
        int c = 0;
        for (; c + Vector<float>.Count <= channels; c += Vector<float>.Count)
        {
            Vector<double> low = Vector<double>.Zero;
            Vector<double> high = Vector<double>.Zero;
            for (int i = 0; i < 4; i++)
            {
                float* line = source + (nint)down.Taps[i] * width * channels + c;
                Vector<double> lowLine = Vector<double>.Zero;
                Vector<double> highLine = Vector<double>.Zero;
                for (int j = 0; j < 4; j++)
                {
                    Vector.Widen(Vector.Load(line + across.Taps[j] * channels), out Vector<double> first, out Vector<double> second);
                    lowLine += across.Weights[j] * first;
                    highLine += across.Weights[j] * second;
                }

                low += down.Weights[i] * lowLine;
                high += down.Weights[i] * highLine;
            }

            Vector.Narrow(low, high).Store(result + c);
        }

        for (; c < channels; c++)
        {
            double sum = 0;
            for (int i = 0; i < 4; i++)
            {
                float* line = source + (nint)down.Taps[i] * width * channels + c;
                double part = 0;
                for (int j = 0; j < 4; j++)
                {
                    part += across.Weights[j] * line[across.Taps[j] * channels];
                }

                sum += down.Weights[i] * part;
            }

            result[c] = (float)sum;
        }
    }

    private static void AddMultiple(float factor, float* x, float* target, int length)
    {
        int c = 0;
        for (; c + Vector<float>.Count <= length; c += Vector<float>.Count)
        {
            (Vector.Load(target + c) + factor * Vector.Load(x + c)).Store(target + c);
        }

        for (; c < length; c++)
        {
            target[c] += factor * x[c];
        }
    }

    private static (int Start, int End) Window(int index, int input, int output) =>
        ((int)((long)index * input / output), (int)(((index + 1L) * input + output - 1) / output));

    private static void RequireSameBatchAndChannels(FeatureMap x, FeatureMap y)
    {
        if (x.Batch != y.Batch || x.Channels != y.Channels)
        {
            throw new ArgumentException(
                $"{x.Batch} images of {x.Channels} channels do not become {y.Batch} of {y.Channels}.", nameof(y));
        }

        if (y.Length > 0 && x.Length == 0)
        {
            throw new ArgumentException($"A {x.Height} x {x.Width} map has nothing to interpolate.", nameof(x));
        }
    }

    /// <summary>The four inputs around one output position along one axis.</summary>
    private readonly struct Cubic
    {
        public readonly Four<int> Taps;
        public readonly Four<double> Weights;

        private Cubic(Four<int> taps, Four<double> weights)
        {
            Taps = taps;
            Weights = weights;
        }

        /// <summary>Positions from <paramref name="first"/> on, at most <paramref name="count"/> of them; returns how many there are.</summary>
        public static int Fill(Cubic* positions, int first, int count, int input, int output)
        {
            count = Math.Min(count, output - first);
            for (int i = 0; i < count; i++)
            {
                positions[i] = At(first + i, input, output);
            }

            return count;
        }

        public static Cubic At(int index, int input, int output)
        {
            double source = (index + 0.5) * input / output - 0.5;
            double below = Math.Floor(source);
            Four<int> taps = default;
            Four<double> weights = default;
            for (int i = 0; i < 4; i++)
            {
                taps[i] = (int)Math.Clamp(below - 1 + i, 0, input - 1);
                weights[i] = Weight(Math.Abs(source - (below - 1 + i)));
            }

            return new Cubic(taps, weights);
        }

        private static double Weight(double distance) => distance <= 1
            ? ((CubicParameter + 2) * distance - (CubicParameter + 3)) * distance * distance + 1
            : ((distance - 5) * distance + 8) * distance * CubicParameter - 4 * CubicParameter;
    }

    [InlineArray(4)]
    private struct Four<T>
    {
        private T _first;
    }
}
