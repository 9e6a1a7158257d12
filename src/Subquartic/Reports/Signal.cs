using Subquartic.Attention;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Reports;

/// <summary>Tokens in double precision, with a bound of their distance from exact arithmetic on exact input: every operation knows how much it enlarges
/// the error it receives (its Lipschitz constant in the maximum norm) and what it adds.</summary>
/// <param name="Values">(Tokens, Width).</param>
/// <param name="Width">Numbers of a token.</param>
/// <param name="Error">max |value - exact value| is at most this.</param>
internal sealed record Signal(double[] Values, int Width, double Error)
{
    // Slope of GELU with tanh at its steepest, and of SiLU.
    private const double GeluSlope = 1.1290, SiluSlope = 1.0999;

    // Of a sum of n terms, each rounded a few times: n 2^-50 of the sum of absolute values is more than enough.
    private const double Rounding = 1.0 / (1L << 50);

    /// <summary>Number of tokens.</summary>
    public int Tokens => Values.Length / Width;

    /// <summary>Largest absolute value.</summary>
    public double Largest => Values.Max(Math.Abs);

    /// <summary>Tokens one after the other; the error is the larger one.</summary>
    public static Signal Concatenate(IReadOnlyList<Signal> parts) =>
        new([.. parts.SelectMany(part => part.Values)], parts[0].Width, parts.Max(part => part.Error));

    /// <summary>Some of the tokens.</summary>
    public Signal Slice(int start, int count) => this with { Values = Values[(start * Width)..((start + count) * Width)] };

    /// <summary>x W + b for every token; the error grows by the largest absolute column sum of W.</summary>
    /// <param name="weight">(Width, columns).</param>
    /// <param name="bias">(columns), or empty.</param>
    public Signal Linear(double[] weight, double[] bias)
    {
        int columns = weight.Length / Width;
        var result = new double[Tokens * columns];
        for (int i = 0; i < Tokens; i++)
        {
            for (int c = 0; c < columns; c++)
            {
                double sum = bias.Length == 0 ? 0 : bias[c];
                for (int l = 0; l < Width; l++)
                {
                    sum += Values[(i * Width) + l] * weight[(l * columns) + c];
                }

                result[(i * columns) + c] = sum;
            }
        }

        double norm = Norm(weight, columns);
        return new Signal(result, columns, (norm * Error) + (Rounding * (Width + 1) * ((norm * Largest) + 1)));
    }

    /// <summary>x + W2 gelu(W1 x + b1) + b2.</summary>
    public Signal FeedForward(double[] first, double[] firstBias, double[] second, double[] secondBias)
    {
        Signal hidden = Linear(first, firstBias);
        return Add(hidden.Apply(Gelu, GeluSlope).Linear(second, secondBias));

        static double Gelu(double x) => 0.5 * x * (1 + Math.Tanh(Math.Sqrt(2 / Math.PI) * (x + (0.044715 * x * x * x))));
    }

    /// <summary>x / (1 + exp(-x)).</summary>
    public Signal Silu() => Apply(x => x / (1 + Math.Exp(-x)), SiluSlope);

    /// <summary>Sum of two signals.</summary>
    public Signal Add(Signal other) => new(
        [.. Values.Zip(other.Values, (a, b) => a + b)], Width, Error + other.Error + (Rounding * (Largest + other.Largest)));

    /// <summary>Bicubic interpolation of a square map to another side, without antialiasing, half-pixel centres (a = -0.75, as in PyTorch); its constant is that of
    /// the weights in use, squared, at most 1.890625.</summary>
    public Signal Resize(int side, int target)
    {
        double[][] weights = Weights(side, target);
        double constant = weights.Max(row => row.Sum(Math.Abs));
        var rows = new double[target * side * Width];
        Along(Values, rows, target, side * Width, side);
        var result = new double[target * target * Width];
        for (int y = 0; y < target; y++)
        {
            Along(rows.AsSpan(y * side * Width, side * Width), result.AsSpan(y * target * Width, target * Width), target, Width, side);
        }

        return new Signal(result, Width, (constant * constant * Error) + (Rounding * 40 * constant * constant * Largest));

        void Along(ReadOnlySpan<double> from, Span<double> to, int count, int stride, int length)
        {
            for (int i = 0; i < count; i++)
            {
                for (int j = 0; j < length; j++)
                {
                    for (int c = 0; c < stride && weights[i][j] != 0; c++)
                    {
                        to[(i * stride) + c] += weights[i][j] * from[(j * stride) + c];
                    }
                }
            }
        }
    }

    /// <summary>Every pixel of a square map four times.</summary>
    public Signal Double(int side)
    {
        var result = new double[4 * Values.Length];
        for (int pixel = 0; pixel < 4 * side * side; pixel++)
        {
            int source = (pixel / (2 * side) / 2 * side) + (pixel % (2 * side) / 2);
            Values.AsSpan(source * Width, Width).CopyTo(result.AsSpan(pixel * Width));
        }

        return this with { Values = result };
    }

    /// <summary>3 x 3 convolution of a square map with zeros around it; the constant is the largest absolute sum of a kernel.</summary>
    /// <param name="kernel">(columns, 3, 3, Width).</param>
    /// <param name="side">Side of the map.</param>
    public Signal Convolve(double[] kernel, int side)
    {
        int taps = 9 * Width;
        int columns = kernel.Length / taps;
        var result = new double[Tokens * columns];
        for (int y = 0; y < side; y++)
        {
            for (int x = 0; x < side; x++)
            {
                for (int tap = 0; tap < 9; tap++)
                {
                    (int sy, int sx) = (y + (tap / 3) - 1, x + (tap % 3) - 1);
                    for (int c = 0; c < columns && sy >= 0 && sy < side && sx >= 0 && sx < side; c++)
                    {
                        for (int l = 0; l < Width; l++)
                        {
                            result[(((y * side) + x) * columns) + c] += kernel[(c * taps) + (tap * Width) + l] * Values[(((sy * side) + sx) * Width) + l];
                        }
                    }
                }
            }
        }

        double constant = Enumerable.Range(0, columns).Max(c => kernel.AsSpan(c * taps, taps).ToArray().Sum(Math.Abs));
        return new Signal(result, columns, (constant * Error) + (Rounding * taps * constant * Largest));
    }

    /// <summary>Attention of these queries in double precision.</summary>
    public Signal Attend(Signal keys, Signal values, double scale)
    {
        var result = new double[Tokens * values.Width];
        var weights = new double[keys.Tokens];
        for (int i = 0; i < Tokens; i++)
        {
            double maximum = double.NegativeInfinity;
            for (int j = 0; j < weights.Length; j++)
            {
                double score = 0;
                for (int l = 0; l < Width; l++)
                {
                    score += Values[(i * Width) + l] * keys.Values[(j * Width) + l];
                }

                weights[j] = score * scale;
                maximum = Math.Max(maximum, weights[j]);
            }

            double sum = 0;
            for (int j = 0; j < weights.Length; j++)
            {
                weights[j] = Math.Exp(weights[j] - maximum);
                sum += weights[j];
            }

            for (int j = 0; j < weights.Length; j++)
            {
                for (int c = 0; c < values.Width; c++)
                {
                    result[(i * values.Width) + c] += weights[j] / sum * values.Values[(j * values.Width) + c];
                }
            }
        }

        double rounding = Rounding * (keys.Tokens + (Width * scale * LongestRow() * keys.LongestRow()) + 8) * values.Largest;
        return new Signal(result, values.Width, Inherited(this, keys, values, scale) + rounding);
    }

    /// <summary>Attention of these queries by a strategy in float32, whose certificate is what it adds.</summary>
    public (Signal Output, Certificate Certificate) Attend(Signal keys, Signal values, double scale, IAttention attention)
    {
        using FloatBuffer q = Store(this, out Signal queries), k = Store(keys, out keys), v = Store(values, out values);
        using var o = new FloatBuffer((long)Tokens * values.Width);
        Certificate certificate = attention.Attend(
            new AttentionInput(Head(q, Width), Head(k, Width), Head(v, values.Width), (float)scale), Head(o, values.Width));

        // The scale is rounded too, like one more rounding of the queries.
        double scaleError = Math.Abs((double)(float)scale - scale) * queries.LongestRow() * keys.LongestRow();
        double error = Inherited(queries, keys, values, scale, scaleError) + certificate.ErrorBound;
        return (new Signal([.. o.Span().ToArray().Select(x => (double)x)], values.Width, error), certificate);

        static HeadTensor Head(FloatBuffer buffer, int width) => HeadTensor.Interleaved(buffer.Matrix((int)(buffer.Length / width), width), 1, 1);
    }

    /// <summary>What errors of queries, keys and values become: scores move by at most Delta, hence the weights' distance is at most tanh(Delta/2), and an
    /// average of values moves by their range times that, plus their own error.</summary>
    private static double Inherited(Signal queries, Signal keys, Signal values, double scale, double more = 0)
    {
        double delta = (scale * ((queries.LongestRow() * keys.Error) + (keys.LongestRow() * queries.Error) + (queries.Width * queries.Error * keys.Error))) + more;
        double range = Enumerable.Range(0, values.Width).Max(c =>
        {
            (double low, double high) = (double.PositiveInfinity, double.NegativeInfinity);
            for (int j = c; j < values.Values.Length; j += values.Width)
            {
                (low, high) = (Math.Min(low, values.Values[j]), Math.Max(high, values.Values[j]));
            }

            return high - low;
        });
        return (range * Math.Tanh(delta / 2)) + values.Error;
    }

    /// <summary>Rounds to float32, and says so.</summary>
    private static FloatBuffer Store(Signal x, out Signal stored)
    {
        FloatBuffer buffer = FloatBuffer.Of([.. x.Values.Select(value => (float)value)]);
        stored = x with { Values = [.. buffer.Span().ToArray().Select(value => (double)value)], Error = x.Error + (x.Largest / (1 << 24)) + float.Epsilon };
        return buffer;
    }

    /// <summary>Largest sum of absolute values of a token.</summary>
    private double LongestRow() => Enumerable.Range(0, Tokens).Max(i => Values.AsSpan(i * Width, Width).ToArray().Sum(Math.Abs));

    private Signal Apply(Func<double, double> function, double slope) =>
        new([.. Values.Select(function)], Width, (slope * Error) + (Rounding * 8 * (Largest + 1)));

    private static double Norm(double[] weight, int columns) =>
        Enumerable.Range(0, columns).Max(c => Enumerable.Range(0, weight.Length / columns).Sum(l => Math.Abs(weight[(l * columns) + c])));

    private static double[][] Weights(int side, int target) =>
    [
        .. Enumerable.Range(0, target).Select(i =>
        {
            const double a = -0.75;
            double u = ((i + 0.5) * side / target) - 0.5;
            int first = (int)Math.Floor(u);
            var row = new double[side];
            for (int tap = -1; tap <= 2; tap++)
            {
                double x = Math.Abs(u - first - tap);
                row[Math.Clamp(first + tap, 0, side - 1)] += x <= 1 ? ((((a + 2) * x) - (a + 3)) * x * x) + 1 : ((((a * x) - (5 * a)) * x) + (8 * a)) * x - (4 * a);
            }

            return row;
        }),
    ];
}
