using System.Diagnostics;
using System.Runtime.InteropServices;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;

namespace Subquartic.Attention;

/// <summary>Attention of all keys, with queries, keys, values and weights rounded to 16-bit integers, which many processors multiply faster than float32.</summary>
/// <remarks>
/// <para><b>Theorem.</b> With k' = k - shift let q^ and k^ be integers near q/s_q and k'/s_k, v^ near (v - middle)/s_v, one s_v for each column, w_j = exp(scale q.k'_j) and
/// P_j = w_j e^(eps_j) a + eta_j >= 0 the integers that stand for the weights, all in the same unit 1/a, with |eps_j| &lt;= delta and sum |eta_j| &lt;= A sum P. If A &lt; 1, then
/// o^ = middle + s_v sum P_j v^_j / sum P_j has |o^ - o| &lt;= range(V) (delta/2 + A/(1 - A)) + max |v - middle - s_v v^|.</para>
/// <para><b>Proof.</b> Let o1 be the mean of v under p_j = w_j e^(eps_j) a. For the keys T whose share grows, p(T) is largest when eps is delta there and -delta elsewhere: its
/// logit grows by 2 delta at most, and no two points that far apart on the logistic curve differ by more than tanh(delta/2). So the shares move by tanh(delta/2) &lt; delta/2 in total variation, and
/// o1 by that times the range. With o2 = sum P v / sum P, sum p (o2 - o1) = sum eta_j (v_j - o2), where o2 is a mean of v too, and sum p >= (1 - A) sum P.
/// A mean of v^ in place of v moves by the largest difference.</para>
/// <para><b>delta.</b> The integers are nearest to products with a rounded 1/s, keys to a rounded difference too, so that |q/s_q - q^| &lt;= 0.506 sqrt(c), |k'/s_k - k^| &lt;= 0.509 sqrt(c) and by the choice of the units
/// |k'/s_k| &lt;= 46006, |q^| &lt;= 46040 for c up to <see cref="QuantizedHead.LargestWidth"/>. By Cauchy and Schwarz a score is off by at most
/// s_q s_k |scale| sqrt(c) (0.506 46006 + 0.509 46040) &lt; 46800 sqrt(c) s_q s_k |scale|. q^.k^ is at most 46040^2; it becomes float32, is multiplied by a
/// rounded factor and may be rounded once more: 3u 46040^2 &lt; 640 in the same unit, u = 2^-24. Last come the power of two, within 7.6e-5, and its argument, which is rounded
/// at most at 20: 8e-5 for both.</para>
/// <para><b>A.</b> A weight is off by at most half of the unit of its block, and the kernel sums these units. Units are powers of two and so are the factors between them: changing to another is exact, but for what falls below
/// 2^-100 of the largest weight. The sums over B blocks of keys are off by gamma_B, those of values, with the conversion of every block, by gamma_(B+1) of their largest integer, and
/// the result by five roundings more; the certificate uses gamma_(2B+8) for all of it.</para>
/// <para><b>v^.</b> |v^| is at most 2046, so that (v - middle)/s_v rounded thrice is off by less than 0.001, and its integer by 0.501. A column that varies by less than 2e-30 is its middle.</para>
/// </remarks>
internal sealed class QuantizedPath(KernelSet kernels) : IDisposable
{
    // Rows that show whether the others are worth it, and how many there must be for that.
    private const int SampleRows = 96, SampledFrom = 768;

    // Beyond it weights might leave their integers.
    private const double LargestScore = 1000;

    // The estimate of what a row is off by, over what is allowed, up to which it is tried.
    private const double Promised = 0.8;

    private readonly QuantizedHead _integers = new();
    private readonly List<int> _pending = [];
    private float[] _middle = [];
    private float[] _unit = [];
    private HeadMeasure _head = null!;
    private RowOutcomes _outcomes = null!;
    private Tolerance _tolerance;

    /// <summary>Multiply-adds spent on the last head.</summary>
    public double Work { get; private set; }

    /// <summary>Middle of each column of V.</summary>
    public ReadOnlySpan<float> Middle => _middle.AsSpan(0, _head.Values.Columns);

    /// <summary>s_v of each column.</summary>
    public ReadOnlySpan<float> Unit => _unit.AsSpan(0, _head.Values.Columns);

    /// <summary>At least |v - middle - s_v v^| for all values, and all that are within their range.</summary>
    public double ValueError { get; private set; }

    /// <summary>Reads a head; says whether the integers hold it.</summary>
    public bool Begin(HeadMeasure head)
    {
        _head = head;
        int columns = head.Values.Columns;
        HeadMeasure.Resize(ref _middle, columns);
        HeadMeasure.Resize(ref _unit, columns);
        ValueError = 0;
        for (int c = 0; c < columns; c++)
        {
            double least = head.ColumnLeast[c], most = head.ColumnMost[c];
            _middle[c] = (float)((least + most) / 2);
            double half = Math.Max(most - _middle[c], _middle[c] - least);
            _unit[c] = half < 1e-30 ? 0 : (float)(half / (QuantizedHead.LargestValue - 1) * (1 + 1e-6));
            ValueError = Math.Max(ValueError, _unit[c] > 0 ? 0.501 * _unit[c] : half);
        }

        return head.Keys.Columns <= QuantizedHead.LargestWidth && head.LongestQuery * head.LongestKey < LargestScore;
    }

    /// <summary>Estimates, from lengths alone, whether rows would be certified.</summary>
    public bool Promises(double allowed)
    {
        double units = _head.TypicalQuery * _head.TypicalKey / ((double)QuantizedHead.LongestInteger * QuantizedHead.LongestInteger);
        return Bound(units / Math.Log(2), 0) <= Promised * allowed;
    }

    /// <summary>delta, by what the kernel says of a row.</summary>
    /// <param name="factor">s_q s_k |scale| log2(e), in float32.</param>
    public double ScoreError(double factor) =>
        (((factor * (1 + 1e-6)) + 1e-30) * Math.Log(2) * ((46800 * Math.Sqrt(_head.Keys.Columns)) + 640)) + 8e-5;

    /// <summary>A/(1 - A), by what the kernel says of a row; infinite when A is not below 1.</summary>
    /// <param name="rounded">Sum of the units of the weights, over the sum of the weights.</param>
    /// <param name="keys">How many.</param>
    public static double LostShare(double rounded, int keys)
    {
        double lost = 0.5 * rounded * (1 + Sums(keys)) * (1 + 1e-6);
        return lost < 1 ? lost / (1 - lost) : double.PositiveInfinity;
    }

    /// <summary>gamma_(2B+8) for the blocks of so many keys.</summary>
    public static double Sums(int keys) => ExactAttention.Gamma((2 * ((keys / QuantizedHead.KeyBlock) + 1)) + 8);

    /// <summary>Computes the pending rows that it can certify.</summary>
    /// <param name="tolerance">What every row must meet.</param>
    /// <param name="outcomes">Where rows are written.</param>
    public void Run(Tolerance tolerance, RowOutcomes outcomes)
    {
        (_outcomes, _tolerance, Work) = (outcomes, tolerance, 0);
        kernels.Quantize(_head.Keys, _head.KeyMean[.._head.Keys.Columns], _head.Values, Middle, Unit, _integers);
        Pend(1);
        if (_pending.Count >= SampledFrom)
        {
            Pend(_pending.Count / SampleRows);
            int sampled = _pending.Count;
            if (2 * Attend() < sampled)
            {
                return;
            }

            Pend(1);
        }

        Attend();
    }

    /// <summary>Times a head in integers, all of it, over exact attention, each at its best of some times.</summary>
    /// <param name="head">The head.</param>
    /// <param name="output">Room for its output.</param>
    /// <param name="quiet">How long neither must have become faster; four times as long at most.</param>
    public double Measure(HeadMeasure head, Matrix output, TimeSpan quiet)
    {
        var outcomes = new RowOutcomes();
        double exact = double.PositiveInfinity, integers = exact;

        // Methods are compiled again, better, once they have been called often.
        long start = Stopwatch.GetTimestamp(), change = start;
        Begin(head);
        while (Stopwatch.GetElapsedTime(change) < quiet && Stopwatch.GetElapsedTime(start) < 4 * quiet)
        {
            double sum = exact + integers;
            long before = Stopwatch.GetTimestamp();
            kernels.Attention(One(head.Queries), One(head.Keys), One(head.Values), head.Scale, One(output));
            exact = Math.Min(exact, Stopwatch.GetElapsedTime(before).TotalSeconds);
            outcomes.Begin(output);
            before = Stopwatch.GetTimestamp();
            Run(new Tolerance(double.PositiveInfinity, ToleranceKind.Absolute), outcomes);
            integers = Math.Min(integers, Stopwatch.GetElapsedTime(before).TotalSeconds);
            change = exact + integers < 0.97 * sum ? Stopwatch.GetTimestamp() : change;
        }

        return integers / exact;

        static HeadTensor One(Matrix matrix) => HeadTensor.Interleaved(matrix, 1, 1);
    }

    /// <summary>Frees the working memory.</summary>
    public void Dispose() => _integers.Dispose();

    /// <summary>Lists every so many of the rows that are pending.</summary>
    private void Pend(int step)
    {
        _pending.Clear();
        int seen = 0;
        for (int row = 0; row < _outcomes.Rows; row++)
        {
            if (_outcomes.IsPending(row) && seen++ % step == 0)
            {
                _pending.Add(row);
            }
        }
    }

    /// <summary>Computes the listed rows; returns how many were certified.</summary>
    private int Attend()
    {
        int count = _pending.Count;
        if (count == 0)
        {
            return 0;
        }

        Work += (double)count * _head.Keys.Rows * (_head.Keys.Columns + _head.Values.Columns);
        using Scratch scratch = Scratch.Rent(2L * count);
        Matrix statistics = scratch.Buffer.Matrix(count, 2);
        kernels.QuantizedAttention(_head.Queries, _head.Scale, _integers, CollectionsMarshal.AsSpan(_pending), _outcomes.Output, statistics);
        int certified = 0;
        for (int i = 0; i < count; i++)
        {
            int row = _pending[i];
            ReadOnlySpan<float> found = statistics.Row(i);
            double bound = Bound(found[1], found[0]);
            if (bound <= _tolerance.Allowed(_head.Range, _tolerance.Kind == ToleranceKind.Row ? RowVectors.LargestMagnitude(_outcomes.Output.Row(row)) : 0))
            {
                certified++;
                _outcomes.SetQuantized(row, bound);
            }
        }

        return certified;
    }

    /// <summary>The bound of the theorem, with rounding.</summary>
    private double Bound(double factor, double rounded)
    {
        int keys = _head.Keys.Rows;
        return (_head.Range * ((ScoreError(factor) / 2) + LostShare(rounded, keys) + Sums(keys))) + ValueError + (4 * ExactAttention.UnitRoundoff * _head.LargestValue);
    }
}
