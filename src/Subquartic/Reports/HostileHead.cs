using Subquartic.Attention;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Reports;

/// <summary>Ways in which a head can be made to break a bound.</summary>
public enum HostileKind
{
    /// <summary>Uniform numbers.</summary>
    Uniform,

    /// <summary>Only the largest numbers, of both signs.</summary>
    Corners,

    /// <summary>Keys, queries and values far from zero.</summary>
    Offsets,

    /// <summary>Coordinates of very different size, which cancel in the product.</summary>
    Anisotropic,

    /// <summary>All keys alike.</summary>
    EqualKeys,

    /// <summary>One to three keys.</summary>
    FewKeys,

    /// <summary>Values near the end of the range of float32.</summary>
    HugeValues,

    /// <summary>Values below the normal numbers.</summary>
    DenormalValues,

    /// <summary>Values that differ in their last digits.</summary>
    SmallRangeFarAway,

    /// <summary>One query far longer than the others.</summary>
    OutlierQuery,

    /// <summary>Few keys far longer than the others.</summary>
    OutlierKey,

    /// <summary>A coordinate in which all keys agree.</summary>
    ConstantCoordinate,

    /// <summary>Products of numbers near both ends of the range of float32.</summary>
    TinyQueriesHugeKeys,

    /// <summary>All values alike.</summary>
    EqualValues,

    /// <summary>Keys and queries on a line in a space of more dimensions, but for little.</summary>
    NearlyFlat,

    /// <summary>Values 0 and 1 by the sign of the score of one query, which puts all error on one side.</summary>
    SplitValues,
}

/// <summary>A small head, random but for what its kind spoils, and the double-precision softmax of it.</summary>
public sealed class HostileHead : IDisposable
{
    private readonly FloatBuffer _memory;
    private readonly Matrix _queries;
    private readonly Matrix _keys;
    private readonly Matrix _values;
    private readonly Matrix _output;

    /// <summary>Draws a head.</summary>
    /// <param name="seed">Decides everything.</param>
    /// <param name="kind">What is spoiled.</param>
    /// <param name="bad">A number that is put somewhere into the input, or null.</param>
    public HostileHead(int seed, HostileKind kind, float? bad = null)
    {
        var random = new Random(seed);
        int queries = random.Next(3, 17);
        int keys = kind == HostileKind.FewKeys ? random.Next(1, 4) : random.Next(4, kind == HostileKind.OutlierKey ? 70 : 33);
        int width = kind == HostileKind.NearlyFlat ? random.Next(2, 20) : random.Next(1, 4);
        int valueWidth = random.Next(1, 3);
        _memory = new FloatBuffer((long)(queries + keys) * (width + valueWidth));
        _queries = _memory.Matrix(queries, width);
        _keys = _memory.Matrix(keys, width, _queries.Span().Length);
        _values = _memory.Matrix(keys, valueWidth, _queries.Span().Length + _keys.Span().Length);
        _output = _memory.Matrix(queries, valueWidth, (long)(queries * width) + (keys * (width + valueWidth)));
        float size = MathF.Pow(10, -1.5f + (2 * random.NextSingle()));
        Fill(_queries, random, size, kind == HostileKind.Corners);
        Fill(_keys, random, 1, kind == HostileKind.Corners);
        Fill(_values, random, 2, kind == HostileKind.Corners);
        Spoil(random, kind);
        float scale = kind == HostileKind.TinyQueriesHugeKeys ? 1 : (random.Next(4) == 0 ? -1f : 1f) / width;
        if (bad is { } value)
        {
            // Not the last part, which is the output.
            _memory.Span()[random.Next(_memory.Span().Length - _output.Span().Length)] = value;
        }

        Input = new AttentionInput(Head(_queries), Head(_keys), Head(_values), scale);
    }

    /// <summary>Queries, keys, values and scale.</summary>
    public AttentionInput Input { get; }

    /// <summary>Where the result belongs.</summary>
    public HeadTensor Output => Head(_output);

    /// <summary>Largest range of a value column.</summary>
    public double ValueRange => Columns(_values).Max(column => (double)column.Max() - column.Min());

    /// <summary>Largest absolute value.</summary>
    public double LargestValue => Columns(_values).Max(column => column.Max(x => Math.Abs((double)x)));

    /// <summary>Largest error of <see cref="Output"/>, against softmax in double precision.</summary>
    /// <returns>The error; NaN when a number is.</returns>
    public double MaxError()
    {
        double largest = 0;
        Span<double> weights = stackalloc double[_keys.Rows];
        for (int i = 0; i < _queries.Rows; i++)
        {
            double maximum = double.NegativeInfinity;
            ReadOnlySpan<float> query = _queries.Row(i);
            for (int j = 0; j < weights.Length; j++)
            {
                ReadOnlySpan<float> key = _keys.Row(j);
                double score = 0;
                for (int l = 0; l < query.Length; l++)
                {
                    score += query[l] * ((double)key[l] - _keys.Row(0)[l]); // what all keys share would only add rounding
                }

                weights[j] = score * Input.Scale;
                maximum = Math.Max(maximum, weights[j]);
            }

            double sum = 0;
            foreach (ref double weight in weights)
            {
                weight = Math.Exp(weight - maximum);
                sum += weight;
            }

            for (int c = 0; c < _values.Columns; c++)
            {
                double expected = 0;
                for (int j = 0; j < weights.Length; j++)
                {
                    expected += weights[j] / sum * _values.Row(j)[c];
                }

                largest = Math.Max(largest, Math.Abs(_output.Row(i)[c] - expected)); // keeps a NaN
            }
        }

        return largest;
    }

    /// <inheritdoc/>
    public void Dispose() => _memory.Dispose();

    private static HeadTensor Head(Matrix matrix) => HeadTensor.Interleaved(matrix, 1, 1);

    private static IEnumerable<float[]> Columns(Matrix matrix) =>
        Enumerable.Range(0, matrix.Columns).Select(c => Enumerable.Range(0, matrix.Rows).Select(j => matrix.Row(j)[c]).ToArray());

    private static void Fill(Matrix matrix, Random random, float size, bool corners)
    {
        foreach (ref float x in matrix.Span())
        {
            x = size * (corners ? (random.Next(2) * 2) - 1 : (2 * random.NextSingle()) - 1);
        }
    }

    private static void Change(Matrix matrix, Func<float, int, float> change)
    {
        for (int i = 0; i < matrix.Rows; i++)
        {
            for (int l = 0; l < matrix.Columns; l++)
            {
                matrix.Row(i)[l] = change(matrix.Row(i)[l], l);
            }
        }
    }

    private static void Flatten(Matrix matrix, Random random, ReadOnlySpan<float> direction)
    {
        float rest = MathF.Pow(10, -1 - (6 * random.NextSingle()));
        for (int i = 0; i < matrix.Rows; i++)
        {
            float along = matrix.Row(i)[0];
            for (int l = 0; l < matrix.Columns; l++)
            {
                matrix.Row(i)[l] = (along * direction[l]) + (rest * matrix.Row(i)[l]);
            }
        }
    }

    private void Spoil(Random random, HostileKind kind)
    {
        float[] factors = [.. Enumerable.Range(0, 20).Select(_ => MathF.Pow(10, (12 * random.NextSingle()) - 6))];
        switch (kind)
        {
            case HostileKind.Offsets:
                Change(_queries, (x, l) => x + (0.3f * MathF.Sin(l + factors[0])));
                Change(_keys, (x, l) => x + (20 * MathF.Cos(l + factors[1])));
                Change(_values, (x, l) => x + (100 * MathF.Cos(l + factors[2])));
                break;
            case HostileKind.Anisotropic:
                Change(_queries, (x, l) => x * factors[l]);
                Change(_keys, (x, l) => x / factors[l]);
                break;
            case HostileKind.EqualKeys:
                Change(_keys, (_, l) => factors[l]);
                break;
            case HostileKind.HugeValues:
                Change(_values, (x, _) => x * 1e37f);
                break;
            case HostileKind.DenormalValues:
                Change(_values, (x, _) => x * 1e-41f);
                break;
            case HostileKind.SmallRangeFarAway:
                Change(_values, (x, _) => 1000 + (x * 1e-3f));
                break;
            case HostileKind.OutlierQuery:
                _queries.Row(random.Next(_queries.Rows)).Fill(factors[0] * 30);
                break;
            case HostileKind.OutlierKey:
                for (int n = random.Next(1, 4); n > 0; n--)
                {
                    _keys.Row(random.Next(_keys.Rows)).Fill(8 * (random.NextSingle() - 0.5f));
                }

                break;
            case HostileKind.ConstantCoordinate:
                Change(_keys, (x, l) => l == 0 ? factors[0] : x);
                Change(_queries, (x, l) => l == 0 ? x * 1e6f : x);
                break;
            case HostileKind.TinyQueriesHugeKeys:
                Change(_queries, (x, _) => x * 1e-38f);
                Change(_keys, (x, _) => x * 3e37f);
                break;
            case HostileKind.EqualValues:
                Change(_values, (_, l) => factors[l]);
                break;
            case HostileKind.NearlyFlat:
                Flatten(_keys, random, factors);
                Change(_keys, (x, l) => x / factors.Take(_keys.Columns).Max());
                break;
            case HostileKind.SplitValues:
                ReadOnlySpan<float> query = _queries.Row(0);
                for (int j = 0; j < _keys.Rows; j++)
                {
                    double score = 0;
                    for (int l = 0; l < query.Length; l++)
                    {
                        score += query[l] * _keys.Row(j)[l];
                    }

                    _values.Row(j).Fill(score > 0 ? 1 : 0);
                }

                break;
        }
    }
}
