using System.Numerics;
using Subquartic.Generation;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Criteria;

/// <summary>Draws the attention of the last scale of a synthetic head: queries on the last map, keys and values on all maps.</summary>
/// <remarks>A field is a sum of plane waves of whole periods with random complex amplitudes, without a constant; a coarser map samples
/// it at the centres of its cells, linearly between the points of the last one. Queries, keys and values are independent fields with one
/// channel each column, except for the network, where all three are projections of the same features.</remarks>
public static class TokenFieldSampler
{
    private const int Blocks = 3;

    private static readonly int[] Sixteenths = [1, 2, 3, 4, 5, 6, 8, 10, 13, 16];

    /// <summary>The maps of sides n {1, 2, 3, 4, 5, 6, 8, 10, 13, 16}/16, those of VAR at 256 pixels for n = 16.</summary>
    /// <param name="side">n, a multiple of 16.</param>
    /// <returns>The schedule; 2.66 n^2 tokens.</returns>
    public static ScaleSchedule Schedule(int side) => ScaleSchedule.Square([.. Sixteenths.Select(s => side * s / 16)]);

    /// <summary>Draws a head.</summary>
    /// <param name="field">What it is made of.</param>
    /// <param name="maps">Square maps; the last has a power of two as side.</param>
    /// <param name="width">c and c_v.</param>
    /// <param name="seed">The same seed, the same head.</param>
    /// <param name="queries">(n^2, c), overwritten.</param>
    /// <param name="keys">(tokens, c), overwritten.</param>
    /// <param name="values">(tokens, c), overwritten.</param>
    /// <exception cref="ArgumentException">The side is not a power of two.</exception>
    public static void Draw(TokenField field, ScaleSchedule maps, int width, int seed, Matrix queries, Matrix keys, Matrix values)
    {
        ArgumentNullException.ThrowIfNull(maps);
        var random = new Random(seed);
        if (field.Kind == TokenFieldKind.Independent)
        {
            Uniform(random, queries, field.Scale / 2 / Math.Sqrt(width)); // products of uniform values have deviation 1/3
            Uniform(random, keys, 1);
            Uniform(random, values, 1);
            return;
        }

        int side = maps.Last.Width;
        if (!BitOperations.IsPow2(side) || maps.Last.Height != side)
        {
            throw new ArgumentException($"The last map is {maps.Last}; its side must be a power of two.", nameof(maps));
        }

        if (field.Kind == TokenFieldKind.Network)
        {
            Network(field, maps, width, random, queries, keys, values);
        }
        else
        {
            var last = new ScaleSchedule(maps.Last);
            Sample(Waves(field, side, width, random), last, queries);
            Sample(Waves(field, side, width, random), maps, keys);
            Sample(Waves(field, side, width, random), maps, values);
            foreach (Matrix matrix in new[] { queries, keys, values })
            {
                AddNoise(random, matrix, field.Noise);
            }
        }

        Normalise(queries, field.Scale);
        Normalise(keys, 1);
    }

    /// <summary>Fields on the last map, of unit variance: (channels)[y * side + x].</summary>
    private static float[][] Waves(TokenField field, int side, int channels, Random random)
    {
        var fields = new float[channels][];
        var wave = new Complex[side * side];
        for (int channel = 0; channel < channels; channel++)
        {
            for (int y = 0; y < side; y++)
            {
                for (int x = 0; x < side; x++)
                {
                    int fy = y <= side / 2 ? y : y - side, fx = x <= side / 2 ? x : x - side;
                    double frequency = Math.Sqrt((fx * fx) + (fy * fy));
                    double amplitude = frequency == 0 ? 0
                        : field.Kind == TokenFieldKind.BandLimited ? (Math.Max(Math.Abs(fx), Math.Abs(fy)) <= field.Parameter ? 1 : 0)
                        : Math.Pow(frequency, -field.Parameter);
                    wave[(y * side) + x] = new Complex(Gaussian(random) * amplitude, Gaussian(random) * amplitude);
                }
            }

            Transform(wave, side);
            double squares = wave.Sum(value => value.Real * value.Real);
            double factor = 1 / Math.Sqrt(squares / wave.Length);
            fields[channel] = [.. wave.Select(value => (float)(value.Real * factor))];
        }

        return fields;
    }

    private static void Sample(float[][] fields, ScaleSchedule maps, Matrix tokens)
    {
        int side = (int)Math.Sqrt(fields[0].Length);
        for (int scale = 0; scale < maps.Count; scale++)
        {
            int size = maps[scale].Width;
            for (int token = 0; token < size * size; token++)
            {
                (int y0, int y1, float y) = Place(token / size, size, side);
                (int x0, int x1, float x) = Place(token % size, size, side);
                Span<float> row = tokens.Row(maps.Start(scale) + token);
                for (int c = 0; c < row.Length; c++)
                {
                    float[] field = fields[c];
                    float top = (field[(y0 * side) + x0] * (1 - x)) + (field[(y0 * side) + x1] * x);
                    float bottom = (field[(y1 * side) + x0] * (1 - x)) + (field[(y1 * side) + x1] * x);
                    row[c] = (top * (1 - y)) + (bottom * y);
                }
            }
        }
    }

    private static (int Before, int After, float Share) Place(int index, int size, int side)
    {
        double place = Math.Clamp(((index + 0.5) * side / size) - 0.5, 0, side - 1);
        int before = (int)place;
        return (before, Math.Min(before + 1, side - 1), (float)(place - before));
    }

    private static void Network(TokenField field, ScaleSchedule maps, int width, Random random, Matrix queries, Matrix keys, Matrix values)
    {
        Sample(Waves(field, maps.Last.Width, width, random), maps, keys);
        AddNoise(random, keys, field.Noise);
        var weights = new List<float[]>();
        for (int i = 0; i < (2 * Blocks) + 3; i++)
        {
            weights.Add([.. Enumerable.Range(0, width * width).Select(_ => (float)(Gaussian(random) / Math.Sqrt(width)))]);
        }

        Span<float> normal = new float[width], hidden = new float[width], change = new float[width];
        for (int token = 0; token < keys.Rows; token++)
        {
            Span<float> x = keys.Row(token);
            for (int block = 0; block < Blocks; block++)
            {
                LayerNorm(x, normal);
                Multiply(weights[2 * block], normal, hidden);
                foreach (ref float value in hidden)
                {
                    value /= 1 + MathF.Exp(-1.702f * value); // GELU, nearly
                }

                Multiply(weights[(2 * block) + 1], hidden, change);
                for (int c = 0; c < width; c++)
                {
                    x[c] += change[c];
                }
            }

            LayerNorm(x, normal);
            if (token >= keys.Rows - queries.Rows)
            {
                Multiply(weights[2 * Blocks], normal, queries.Row(token - keys.Rows + queries.Rows));
            }

            Multiply(weights[(2 * Blocks) + 2], normal, values.Row(token));
            Multiply(weights[(2 * Blocks) + 1], normal, x);
        }
    }

    private static void LayerNorm(ReadOnlySpan<float> x, Span<float> y)
    {
        double sum = 0, squares = 0;
        foreach (float value in x)
        {
            sum += value;
            squares += (double)value * value;
        }

        double mean = sum / x.Length, inverse = 1 / Math.Sqrt((squares / x.Length) - (mean * mean) + 1e-6);
        for (int c = 0; c < x.Length; c++)
        {
            y[c] = (float)((x[c] - mean) * inverse);
        }
    }

    private static void Multiply(float[] weights, ReadOnlySpan<float> x, Span<float> y)
    {
        for (int row = 0; row < y.Length; row++)
        {
            y[row] = System.Numerics.Tensors.TensorPrimitives.Dot(weights.AsSpan(row * x.Length, x.Length), x);
        }
    }

    private static void Normalise(Matrix matrix, double length)
    {
        for (int row = 0; row < matrix.Rows; row++)
        {
            Span<float> values = matrix.Row(row);
            float norm = System.Numerics.Tensors.TensorPrimitives.Norm<float>(values);
            System.Numerics.Tensors.TensorPrimitives.Multiply(values, (float)(length / Math.Max(norm, 1e-12f)), values);
        }
    }

    private static void AddNoise(Random random, Matrix matrix, double size)
    {
        for (int row = 0; size > 0 && row < matrix.Rows; row++)
        {
            foreach (ref float value in matrix.Row(row))
            {
                value += (float)(size * Gaussian(random));
            }
        }
    }

    private static void Uniform(Random random, Matrix matrix, double size)
    {
        for (int row = 0; row < matrix.Rows; row++)
        {
            foreach (ref float value in matrix.Row(row))
            {
                value = (float)(size * ((2 * random.NextDouble()) - 1));
            }
        }
    }

    private static double Gaussian(Random random) =>
        Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());

    /// <summary>The discrete Fourier transform of a square, in place, without a factor.</summary>
    private static void Transform(Complex[] square, int side)
    {
        var line = new Complex[side];
        for (int row = 0; row < side; row++)
        {
            Line(square.AsSpan(row * side, side));
        }

        for (int column = 0; column < side; column++)
        {
            for (int row = 0; row < side; row++)
            {
                line[row] = square[(row * side) + column];
            }

            Line(line);
            for (int row = 0; row < side; row++)
            {
                square[(row * side) + column] = line[row];
            }
        }
    }

    /// <summary>The transform of a power of two of values (Cooley and Tukey).</summary>
    private static void Line(Span<Complex> values)
    {
        for (int i = 1, j = 0; i < values.Length; i++)
        {
            int bit = values.Length >> 1;
            for (; (j & bit) != 0; bit >>= 1)
            {
                j ^= bit;
            }

            j ^= bit;
            if (i < j)
            {
                (values[i], values[j]) = (values[j], values[i]);
            }
        }

        for (int length = 2; length <= values.Length; length *= 2)
        {
            Complex step = Complex.FromPolarCoordinates(1, 2 * Math.PI / length);
            for (int start = 0; start < values.Length; start += length)
            {
                Complex factor = Complex.One;
                for (int i = start; i < start + (length / 2); i++, factor *= step)
                {
                    Complex other = values[i + (length / 2)] * factor;
                    (values[i], values[i + (length / 2)]) = (values[i] + other, values[i] - other);
                }
            }
        }
    }
}
