using System.Numerics.Tensors;
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Attention;

/// <summary>Some queries near each other: their mean q0, u = q - q0, and the orthonormal directions g in which the u spread most, with
/// a = g.u and what is left, u' = u - sum a g.</summary>
internal sealed class MergeTile : IDisposable
{
    /// <summary>Number of directions.</summary>
    public const int Directions = 4;

    /// <summary>Rows of <see cref="Pilots"/>.</summary>
    public const int PilotRows = Directions + 1;

    private const int Rounds = 4;

    private readonly double[] _deviations = new double[Directions];
    private FloatBuffer _memory = new(0);
    private double[] _numbers = [];

    /// <summary>Rows of the head.</summary>
    public ArraySegment<int> Rows { get; private set; }

    public int Count => Rows.Count;

    /// <summary>u (B, padded c).</summary>
    public Matrix Differences { get; private set; }

    /// <summary>u' (B, padded c).</summary>
    public Matrix Remainders { get; private set; }

    /// <summary>q0 and the g (padded c).</summary>
    public Matrix Pilots { get; private set; }

    /// <summary>At least |u| for a row.</summary>
    public Span<double> Length => _numbers.AsSpan(0, Count);

    /// <summary>At least |u'| for a row, what float32 leaves of it within the span of g included (see <see cref="MergePath"/>).</summary>
    public Span<double> Rest => _numbers.AsSpan(Count, Count);

    public double LongestLength { get; private set; }

    public double LongestRest { get; private set; }

    /// <summary>Root of the mean square of each a.</summary>
    public ReadOnlySpan<double> Deviations => _deviations;

    /// <summary><see cref="Deviations"/> as float32.</summary>
    public Vector128<float> DeviationVector => Vector128.Create((float)_deviations[0], (float)_deviations[1], (float)_deviations[2], (float)_deviations[3]);

    /// <summary>Mean square of |u'|, to plan with.</summary>
    public double MeanRest { get; private set; }

    /// <summary>kap: at least the length of (a_i / deviation_i) for a row.</summary>
    public double Corner { get; private set; }

    /// <summary>At least |q0|.</summary>
    public double PilotLength { get; private set; }

    /// <summary>The a of a row.</summary>
    public ReadOnlySpan<double> Places(int row) => _numbers.AsSpan((2 * Count) + (row * Directions), Directions);

    /// <summary>Reads the queries of a tile; returns max |u|.</summary>
    public double Radius(HeadMeasure head, ArraySegment<int> rows)
    {
        Read(head, rows);
        return LongestLength;
    }

    /// <summary>Reads the queries of a tile and finds its directions.</summary>
    public void Prepare(HeadMeasure head, ArraySegment<int> rows)
    {
        Span<float> work = Read(head, rows);
        for (int k = 0; k < Directions; k++)
        {
            Differences.Row((int)((k + 0.5) * Count / Directions)).CopyTo(Pilots.Row(k + 1));
        }

        int width = head.Queries.Columns;
        Iterate(work);
        if (!AreOrthonormal(width))
        {
            Pilots.SliceRows(1, Directions).Span().Clear(); // a = 0 and u' = u serve as well
        }

        Split(width);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private Span<float> Read(HeadMeasure head, ArraySegment<int> rows)
    {
        Rows = rows;
        int width = head.Queries.Columns, stride = RowVectors.Padded(width);
        long length = ((2L * Count) + PilotRows + 1 + Directions) * stride;
        if (_memory.Length < length)
        {
            _memory.Dispose();
            _memory = new FloatBuffer(length);
        }

        HeadMeasure.Resize(ref _numbers, (2 + Directions) * Count);
        Differences = _memory.Matrix(Count, stride);
        Pilots = _memory.Matrix(PilotRows, stride, (long)Count * stride);
        Remainders = _memory.Matrix(Count, stride, (long)(Count + PilotRows) * stride);
        Span<float> zero = _memory.Span(((2L * Count) + PilotRows) * stride, stride), all = _memory.Span(((2L * Count) + PilotRows + 1) * stride, Directions * stride);
        Span<float> work = all[..stride];
        Span<float> mean = Pilots.Row(0);
        zero.Clear();
        mean.Clear();
        for (int i = 0; i < Count; i++)
        {
            RowVectors.Shift(head.Queries.Row(rows[i]), head.Scale, zero, work);
            TensorPrimitives.Add(mean, work, mean);
        }

        TensorPrimitives.Multiply(mean, 1f / Count, mean);
        LongestLength = 0;
        for (int i = 0; i < Count; i++)
        {
            float square = RowVectors.Shift(head.Queries.Row(rows[i]), head.Scale, mean, Differences.Row(i));
            Length[i] = (Math.Sqrt(square) * (1 + 1e-5)) + 1e-22;
            LongestLength = Math.Max(LongestLength, Length[i]);
        }

        PilotLength = (TensorPrimitives.Norm<float>(mean) * (1 + 1e-5)) + 1e-22;
        return all;
    }

    public void Dispose() => _memory.Dispose();

    /// <summary>Subspace iterations on sum u u^T. A direction in which nothing spreads becomes zero.</summary>
    private void Iterate(Span<float> work)
    {
        int stride = Differences.Columns;
        for (int round = 0; round < Rounds; round++)
        {
            RowVectors.AddProjections(Differences.Span(), Pilots.SliceRows(1, Directions).Span(), work, stride);
            for (int k = 1; k <= Directions; k++)
            {
                Span<float> direction = Pilots.Row(k);
                work.Slice((k - 1) * stride, stride).CopyTo(direction);
                for (int time = 0; time < 2; time++)
                {
                    for (int other = 1; other < k; other++)
                    {
                        TensorPrimitives.MultiplyAdd(Pilots.Row(other), -TensorPrimitives.Dot<float>(Pilots.Row(other), direction), direction, direction);
                    }

                    float norm = TensorPrimitives.Norm<float>(direction);
                    if (!(norm > 1e-18f && norm < 1e18f))
                    {
                        direction.Clear();
                        break;
                    }

                    TensorPrimitives.Divide(direction, norm, direction);
                }
            }
        }
    }

    /// <summary>Whether the directions that are not zero are orthonormal as the bounds assume, computed in double.</summary>
    private bool AreOrthonormal(int width)
    {
        double allowed = 2 * ExactAttention.Gamma(width + 16);
        for (int k = 1; k <= Directions; k++)
        {
            for (int other = 1; other <= k; other++)
            {
                ReadOnlySpan<float> x = Pilots.Row(k), y = Pilots.Row(other);
                double product = 0;
                for (int c = 0; c < x.Length; c++)
                {
                    product += (double)x[c] * y[c];
                }

                bool isZero = other == k && product == 0;
                if (!(Math.Abs(product - (other == k && !isZero ? 1 : 0)) <= allowed))
                {
                    return false;
                }
            }
        }

        return true;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Split(int width)
    {
        LongestRest = 0;
        MeanRest = 0;
        Array.Clear(_deviations);
        double leak = MergePath.Leak(width);
        for (int i = 0; i < Count; i++)
        {
            ReadOnlySpan<float> row = Differences.Row(i);
            Span<float> work = Remainders.Row(i);
            row.CopyTo(work);
            Span<double> places = _numbers.AsSpan((2 * Count) + (i * Directions), Directions);
            for (int k = 0; k < Directions; k++)
            {
                float a = TensorPrimitives.Dot<float>(row, Pilots.Row(k + 1));
                TensorPrimitives.MultiplyAdd(Pilots.Row(k + 1), -a, work, work);
                places[k] = a;
                _deviations[k] += (double)a * a / Count;
            }

            Rest[i] = (TensorPrimitives.Norm<float>(work) * (1 + 1e-5)) + (leak * Length[i]);
            LongestRest = Math.Max(LongestRest, Rest[i]);
            MeanRest += Rest[i] * Rest[i] / Count;
        }

        for (int k = 0; k < Directions; k++)
        {
            _deviations[k] = Math.Sqrt(_deviations[k]) + 1e-30;
        }

        Corner = 1e-30;
        for (int i = 0; i < Count; i++)
        {
            double square = 0;
            for (int k = 0; k < Directions; k++)
            {
                double place = Places(i)[k] / _deviations[k];
                square += place * place;
            }

            Corner = Math.Max(Corner, Math.Sqrt(square) * (1 + 1e-12));
        }
    }
}
