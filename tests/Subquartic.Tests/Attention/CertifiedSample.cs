using Subquartic.Attention;
using Subquartic.Generation;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Tests.Attention;

/// <summary>What is special about a small head.</summary>
public enum CertifiedSampleKind
{
    Uniform,
    SmoothLine,
    SmoothMaps,
    HeavyTails,
    Corners,
    HardInstance,
    OffsetKeys,
    OutlierKey,
    OutlierQuery,
    OutlierValue,
    EqualKeys,
    DuplicatedKeys,
    OneKey,
    EqualQueries,
    HugeNorms,
    TinyKeys,
    HugeValues,
    DenormalValues,
    FarValues,
    EqualValues,
    Peaked,
}

/// <summary>A small head made to break bounds, and its softmax in double precision.</summary>
internal sealed class CertifiedSample : IDisposable
{
    private readonly FloatBuffer _memory;
    private readonly Matrix _queries;
    private readonly Matrix _keys;
    private readonly Matrix _values;

    public CertifiedSample(Random random, CertifiedSampleKind kind, float? bad = null)
    {
        Kind = kind;
        int side = random.Next(2, 7);
        Maps = kind == CertifiedSampleKind.SmoothLine || random.Next(4) == 0 ? null : ScaleSchedule.Square((side + 1) / 2, side);
        int queries = random.Next(4, 24), keys = kind == CertifiedSampleKind.OneKey ? 1 : Maps?.Tokens ?? (random.Next(3) == 0 ? random.Next(60, 300) : random.Next(2, 60)); // some of several blocks
        int width = random.Next(3) == 0 ? random.Next(1, 4) : random.Next(4, 40), valueWidth = random.Next(1, 24);
        if (random.Next(3) == 0)
        {
            // Whole vectors, of which sums are taken without copies.
            (width, valueWidth) = (16 * random.Next(1, 4), 16 * random.Next(1, 6));
        }

        _memory = new FloatBuffer(((long)(queries + keys) * width) + ((long)keys * valueWidth) + ((long)queries * valueWidth));
        _queries = _memory.Matrix(queries, width);
        _keys = _memory.Matrix(keys, width, (long)queries * width);
        _values = _memory.Matrix(keys, valueWidth, (long)(queries + keys) * width);
        Output = _memory.Matrix(queries, valueWidth, ((long)(queries + keys) * width) + ((long)keys * valueWidth));
        Fill(random);
        if (bad is { } value)
        {
            _memory.Span()[random.Next(((queries + keys) * width) + (keys * valueWidth))] = value;
        }

        Input = new AttentionInput(One(_queries), One(_keys), One(_values), random.Next(5) switch { 0 => -1, 1 => 0.3f, _ => 1 }, Maps);
    }

    /// <summary>A head whose queries have equal coordinates, and keys all even ones and all odd ones; with values of one column.</summary>
    public CertifiedSample(int width, float[] queries, (float Even, float Odd)[] keys, float[] values)
    {
        _memory = new FloatBuffer(((queries.Length + keys.Length) * (long)width) + keys.Length + queries.Length);
        _queries = _memory.Matrix(queries.Length, width);
        _keys = _memory.Matrix(keys.Length, width, (long)queries.Length * width);
        _values = _memory.Matrix(keys.Length, 1, (long)(queries.Length + keys.Length) * width);
        Output = _memory.Matrix(queries.Length, 1, ((long)(queries.Length + keys.Length) * width) + keys.Length);
        for (int i = 0; i < queries.Length; i++)
        {
            _queries.Row(i).Fill(queries[i]);
        }

        for (int j = 0; j < keys.Length; j++)
        {
            for (int c = 0; c < width; c++)
            {
                _keys.Row(j)[c] = c % 2 == 0 ? keys[j].Even : keys[j].Odd;
            }

            _values.Row(j)[0] = values[j];
        }

        Input = new AttentionInput(One(_queries), One(_keys), One(_values), 1, null);
    }

    public CertifiedSampleKind Kind { get; }

    public ScaleSchedule? Maps { get; }

    public AttentionInput Input { get; }

    public Matrix Output { get; }

    public HeadTensor OutputHead => One(Output);

    /// <summary>max |o - o*| of every row, o* in double precision and not rounded.</summary>
    public double[] Errors()
    {
        var errors = new double[_queries.Rows];
        double[] weights = new double[_keys.Rows];
        for (int i = 0; i < errors.Length; i++)
        {
            for (int j = 0; j < weights.Length; j++)
            {
                weights[j] = 0;
                for (int l = 0; l < _queries.Columns; l++)
                {
                    weights[j] += (double)_queries.Row(i)[l] * _keys.Row(j)[l];
                }

                weights[j] *= Input.Scale;
            }

            double maximum = weights.Max(), sum = 0;
            for (int j = 0; j < weights.Length; j++)
            {
                weights[j] = Math.Exp(weights[j] - maximum);
                sum += weights[j];
            }

            for (int c = 0; c < _values.Columns; c++)
            {
                double expected = 0;
                for (int j = 0; j < weights.Length; j++)
                {
                    expected += weights[j] / sum * _values.Row(j)[c];
                }

                errors[i] = Math.Max(errors[i], Math.Abs(Output.Row(i)[c] - expected)); // keeps a NaN
            }
        }

        return errors;
    }

    public void Dispose() => _memory.Dispose();

    private static HeadTensor One(Matrix matrix) => HeadTensor.Interleaved(matrix, 1, 1);

    private void Fill(Random random)
    {
        // Scores from far below to far above one.
        double size = Math.Pow(10, -2 + (3.2 * random.NextDouble())) / Math.Sqrt(_keys.Columns);
        double smooth = random.NextDouble() < 0.4 ? 0.02 : 0.3;
        foreach ((Matrix matrix, double length) in new[] { (_queries, size), (_keys, 1.0), (_values, 1.0) })
        {
            double[] phases = [.. Enumerable.Range(0, matrix.Columns * 2).Select(_ => 6.3 * random.NextDouble())];
            for (int i = 0; i < matrix.Rows; i++)
            {
                Span<float> row = matrix.Row(i);
                for (int c = 0; c < row.Length; c++)
                {
                    double value = Kind switch
                    {
                        CertifiedSampleKind.SmoothLine or CertifiedSampleKind.SmoothMaps or CertifiedSampleKind.Peaked
                            => Math.Sin((smooth * i * (0.5 + (phases[c + row.Length] / 6.3))) + phases[c]) + (0.01 * random.NextDouble()),
                        CertifiedSampleKind.HeavyTails => Math.Tan(1.55 * ((2 * random.NextDouble()) - 1)) / 4,
                        CertifiedSampleKind.Corners or CertifiedSampleKind.HardInstance => random.Next(2) == 0 ? -1 : 1,
                        _ => (2 * random.NextDouble()) - 1,
                    };
                    row[c] = (float)(value * length);
                }
            }
        }

        Spoil(random);
    }

    private void Spoil(Random random)
    {
        float offset = (4 * random.NextSingle()) - 2;
        switch (Kind)
        {
            case CertifiedSampleKind.HardInstance: // a planted pair far above all others
                _queries.Row(0).CopyTo(_keys.Row(random.Next(_keys.Rows)));
                Change(_queries, x => x * 8);
                break;
            case CertifiedSampleKind.Peaked:
                Change(_queries, x => x * 20);
                break;
            case CertifiedSampleKind.OffsetKeys:
                Change(_keys, x => x + (30 * offset));
                break;
            case CertifiedSampleKind.OutlierKey:
                Change(_keys.SliceRows(random.Next(_keys.Rows), 1), x => x * 40);
                break;
            case CertifiedSampleKind.OutlierQuery:
                Change(_queries.SliceRows(random.Next(_queries.Rows), 1), x => x * 40);
                break;
            case CertifiedSampleKind.OutlierValue:
                Change(_values.SliceRows(random.Next(_values.Rows), 1), x => x * 1000);
                break;
            case CertifiedSampleKind.EqualKeys:
                for (int i = 1; i < _keys.Rows; i++)
                {
                    _keys.Row(0).CopyTo(_keys.Row(i));
                }

                break;
            case CertifiedSampleKind.DuplicatedKeys:
                for (int i = 1; i < _keys.Rows; i += 2)
                {
                    _keys.Row(i - 1).CopyTo(_keys.Row(i));
                }

                break;
            case CertifiedSampleKind.EqualQueries:
                for (int i = 1; i < _queries.Rows; i++)
                {
                    _queries.Row(0).CopyTo(_queries.Row(i));
                }

                break;
            case CertifiedSampleKind.HugeNorms:
                Change(_queries, x => x * 1e5f);
                Change(_keys, x => x * 1e3f);
                break;
            case CertifiedSampleKind.TinyKeys:
                Change(_keys, x => x * 1e-38f);
                Change(_queries, x => x * 1e14f);
                break;
            case CertifiedSampleKind.HugeValues:
                Change(_values, x => x * 1e27f);
                break;
            case CertifiedSampleKind.DenormalValues:
                Change(_values, x => x * 1e-41f);
                break;
            case CertifiedSampleKind.FarValues:
                Change(_values, x => (x * 1e-2f) + (1000 * offset));
                break;
            case CertifiedSampleKind.EqualValues:
                Change(_values, _ => offset);
                break;
        }
    }

    private static void Change(Matrix matrix, Func<float, float> change)
    {
        for (int i = 0; i < matrix.Rows; i++)
        {
            foreach (ref float value in matrix.Row(i))
            {
                value = change(value);
            }
        }
    }
}
