using System.Runtime.CompilerServices;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;

namespace Subquartic.Numerics.Kernels;

/// <summary>Attention from 16-bit integers: the structure of exact attention (VectorKernels.Attention.cs), whose lanes are queries too, with products of
/// pairs of integers in place of multiply-adds.</summary>
internal sealed unsafe partial class VectorKernels<TLanes, TVector>
{
    /// <summary>log2 of <see cref="QuantizedHead.LargestWeight"/>.</summary>
    private const float WeightBits = 14;

    /// <summary>A block's unit is at least 2^-this of the largest weight so far.</summary>
    private const float SmallestUnit = 40;

    /// <summary>Keys that a task quantizes; a multiple of a tile.</summary>
    private const int QuantizeRows = 512;

    public override void Quantize(
        Matrix keys, ReadOnlySpan<float> shift, Matrix values, ReadOnlySpan<float> middle, ReadOnlySpan<float> unit, QuantizedHead head, Matrix bias = default)
    {
        Check.Quantize(keys, shift, values, middle, unit, bias);
        head.Begin(keys.Rows, keys.Columns, values.Columns, shift, bias, middle, unit);
        int tasks = DivideUp(keys.Rows, QuantizeRows);
        using (var scratch = Scratch.Rent(tasks))
        {
            var measure = new UnitBody(keys, head, scratch.Pointer);
            Pool.Run(tasks, ref measure);
            float largest = 0;
            for (int task = 0; task < tasks; task++)
            {
                largest = Math.Max(largest, scratch.Pointer[task]);
            }

            head.KeyUnit = largest;
        }

        var body = new QuantizeBody(keys, values, head);
        Pool.Run(tasks, ref body);
    }

    public override void QuantizedAttention(
        Matrix queries, float scale, QuantizedHead head, ReadOnlySpan<int> rows, Matrix output, Matrix statistics, Matrix more = default, Matrix moreOutput = default)
    {
        Check.QuantizedAttention(queries, head, rows, output, statistics, more, moreOutput);
        if (queries.Rows == 0)
        {
            return;
        }

        int vectors = DivideUp(statistics.Rows, TLanes.Count);
        int groups = DivideUp(vectors, MaxGroupVectors);
        int taskGroups = Math.Clamp(MaxTaskState / QuantizedGroup.LengthOf(head, more.Columns), 1, MaxTaskGroups);
        int parts = Math.Max(DivideUp(groups, taskGroups), Math.Min(groups, MinTasksPerThread * Pool.Threads));
        fixed (int* list = rows)
        {
            var body = new QuantizedBody(queries, scale, head, list, output, statistics, more, moreOutput, vectors, groups, parts);
            Pool.Run(parts, ref body);
        }
    }

    /// <summary>The unit that the keys of a part need.</summary>
    private readonly struct UnitBody(Matrix keys, QuantizedHead head, float* units) : IParallelBody
    {
        public void Invoke(int task)
        {
            int end = Math.Min(keys.Rows, (task + 1) * QuantizeRows);
            float unit = 0;
            fixed (float* shift = head.Shift)
            {
                for (int row = task * QuantizeRows; row < end; row++)
                {
                    unit = Math.Max(unit, UnitOf(keys.Pointer + (long)row * keys.Stride, shift, keys.Columns));
                }
            }

            units[task] = unit;
        }
    }

    /// <summary>Quantizes the keys and values of a part.</summary>
    private readonly struct QuantizeBody(Matrix keys, Matrix values, QuantizedHead head) : IParallelBody
    {
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Invoke(int task)
        {
            int first = task * QuantizeRows, end = Math.Min(keys.Rows, first + QuantizeRows), last = keys.Rows - 1;
            int rows = end > last ? DivideUp(end, QuantizedHead.Tile) * QuantizedHead.Tile : end, stride = head.KeyStride;
            float inverse = 1 / head.KeyUnit;
            fixed (float* shift = head.Shift, middle = head.Middle, factors = head.Inverse)
            {
                float* target = head.Keys + (long)first * stride;
                for (int row = first; row < rows; row++, target += stride)
                {
                    QuantizeRow(keys.Pointer + (long)Math.Min(row, last) * keys.Stride, shift, keys.Columns, inverse, target);
                }

                stride = head.ValueStride;
                target = head.Values + (long)(first / 2) * stride;
                for (int row = first; row < end; row += 2, target += stride)
                {
                    float* even = values.Pointer + (long)row * values.Stride, odd = row < last ? even + values.Stride : null;
                    int c = 0;
                    for (; odd is not null && c + TLanes.Count <= values.Columns; c += TLanes.Count)
                    {
                        TVector factor = TLanes.Load(factors + c), centre = TLanes.Load(middle + c);
                        TVector a = QuantizeValue(TLanes.Load(even + c), centre, factor), b = QuantizeValue(TLanes.Load(odd + c), centre, factor);
                        TLanes.Store(target + c, TLanes.JoinHalves(a, b));
                    }

                    for (; c < stride; c += TLanes.Count)
                    {
                        int room = Math.Min(TLanes.Count, stride - c), count = Math.Min(room, values.Columns - c);
                        TVector factor = First(factors + c, room), centre = First(middle + c, room);
                        TVector a = QuantizeValue(First(even + c, count), centre, factor);
                        TVector b = odd is null ? TLanes.Zero : QuantizeValue(First(odd + c, count), centre, factor);
                        VectorMath<TLanes, TVector>.StoreFirst(target + c, TLanes.JoinHalves(a, b), room);
                    }
                }
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TVector QuantizeValue(TVector value, TVector middle, TVector factor)
    {
        TVector most = TLanes.Broadcast(QuantizedHead.LargestValue - 1), scaled = TLanes.Multiply(TLanes.Subtract(value, middle), factor);
        return TLanes.ToInteger(TLanes.Max(TLanes.Min(scaled, most), TLanes.Subtract(TLanes.Zero, most)));
    }

    /// <summary>The unit of one row less the shift, which may be null.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static float UnitOf(float* row, float* shift, int width)
    {
        TVector squares = TLanes.Zero, most = TLanes.Zero, least = TLanes.Zero;
        int c = 0;
        for (; c + TLanes.Count <= width; c += TLanes.Count)
        {
            TVector x = shift is null ? TLanes.Load(row + c) : TLanes.Subtract(TLanes.Load(row + c), TLanes.Load(shift + c));
            squares = TLanes.MultiplyAdd(x, x, squares);
            most = TLanes.Max(most, x);
            least = TLanes.Min(least, x);
        }

        if (c < width)
        {
            TVector x = First(row + c, width - c);
            x = shift is null ? x : TLanes.Subtract(x, First(shift + c, width - c));
            squares = TLanes.MultiplyAdd(x, x, squares);
            most = TLanes.Max(most, x);
            least = TLanes.Min(least, x);
        }

        return QuantizedHead.UnitOf(MathF.Sqrt(TLanes.SumOf(squares)), TLanes.MaxOf(TLanes.Max(most, TLanes.Subtract(TLanes.Zero, least))));
    }

    /// <summary>Pairs of integers of a row less the shift, which may be null.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void QuantizeRow(float* row, float* shift, int width, float inverse, float* pairs)
    {
        int half = (width + 1) / 2, c = 0;
        TVector factor = TLanes.Broadcast(inverse);
        for (; half + c + TLanes.Count <= width; c += TLanes.Count)
        {
            TVector a = TLanes.Load(row + c), b = TLanes.Load(row + half + c);
            if (shift is not null)
            {
                a = TLanes.Subtract(a, TLanes.Load(shift + c));
                b = TLanes.Subtract(b, TLanes.Load(shift + half + c));
            }

            TLanes.Store(pairs + c, TLanes.JoinHalves(TLanes.ToInteger(TLanes.Multiply(a, factor)), TLanes.ToInteger(TLanes.Multiply(b, factor))));
        }

        for (; c < half; c += TLanes.Count)
        {
            int low = Math.Min(TLanes.Count, half - c), high = Math.Min(TLanes.Count, width - half - c);
            TVector a = First(row + c, low), b = First(row + half + c, high);
            if (shift is not null)
            {
                a = TLanes.Subtract(a, First(shift + c, low));
                b = TLanes.Subtract(b, First(shift + half + c, high));
            }

            a = TLanes.ToInteger(TLanes.Multiply(a, factor));
            b = TLanes.ToInteger(TLanes.Multiply(b, factor));
            VectorMath<TLanes, TVector>.StoreFirst(pairs + c, TLanes.JoinHalves(a, b), low);
        }
    }

    /// <summary>Some values and zeros behind them; only zeros for none or fewer.</summary>
    private static TVector First(float* source, int count) => VectorMath<TLanes, TVector>.LoadFirst(source, Math.Max(0, count));

    /// <summary>Attention of some groups of queries.</summary>
    private readonly struct QuantizedBody(
        Matrix queries, float scale, QuantizedHead head, int* rows, Matrix output, Matrix statistics, Matrix more, Matrix moreOutput, int vectors, int groups,
        int parts) : IParallelBody
    {
        public void Invoke(int part)
        {
            int first = Split(groups, parts, part), end = Split(groups, parts, part + 1);
            int length = QuantizedGroup.LengthOf(head, more.Columns), lanes = MaxGroupVectors * TLanes.Count;
            int room = Math.Max((2 * QuantizedHead.KeyBlock + 3) * lanes, DivideUp(head.KeyStride, 16) * 16);
            using var scratch = Scratch.Rent((long)(end - first) * length + room);
            float* scores = scratch.Pointer, states = scores + room;
            for (int g = first; g < end; g++)
            {
                Group(g, states + (g - first) * length).Begin(queries, scale, rows, statistics.Rows, scores);
            }

            for (int start = 0; start < head.Rows; start += QuantizedHead.KeyBlock)
            {
                int count = Math.Min(QuantizedHead.KeyBlock, head.Rows - start);
                var block = new QuantizedBlock
                {
                    Count = count,
                    Keys = head.Keys + (long)start * head.KeyStride,
                    Bias = head.Bias + start,
                    Values = head.Values + (long)(start / 2) * head.ValueStride,
                    More = more.Rows == 0 ? null : more.Pointer + (long)start * more.Stride,
                    MoreStride = more.Stride,
                    Scores = scores,
                };
                for (int g = first; g < end; g++)
                {
                    QuantizedGroup group = Group(g, states + (g - first) * length);
                    switch (group.Vectors)
                    {
                        case 1: AttendQuantized<One>(group, block); break;
                        case 2: AttendQuantized<Two>(group, block); break;
                        default: AttendQuantized<Three>(group, block); break;
                    }
                }
            }

            for (int g = first; g < end; g++)
            {
                Group(g, states + (g - first) * length).End(output, moreOutput, rows, statistics);
            }
        }

        private QuantizedGroup Group(int group, float* state)
        {
            int start = Split(vectors, groups, group);
            return new QuantizedGroup(state, start * TLanes.Count, Split(vectors, groups, group + 1) - start, head, more.Columns);
        }
    }

    /// <summary>Up to three vectors of queries and what is known of their outputs.</summary>
    private readonly struct QuantizedGroup(float* state, int first, int vectors, QuantizedHead head, int moreColumns)
    {
        public int Vectors => vectors;

        public QuantizedHead Head => head;

        /// <summary>From integers to scores times log2(e), (lanes).</summary>
        public float* Factor => state;

        /// <summary>Largest score so far, (lanes).</summary>
        public float* Maximum => state + Lanes;

        /// <summary>An integer: a weight of the integer 1 is 2^(this - <see cref="WeightBits"/>), (lanes).</summary>
        public float* Exponent => state + 2 * Lanes;

        /// <summary>Sum of the weights so far, in the unit (lanes).</summary>
        public float* Sum => state + 3 * Lanes;

        /// <summary>Sum over the keys so far of the unit of their weight, in the present one: twice what rounding may have changed (lanes).</summary>
        public float* Rounded => state + 4 * Lanes;

        /// <summary>Pairs of integers (ceil(c/2), lanes).</summary>
        public float* Queries => state + 5 * Lanes;

        /// <summary>Weighted sum of the values so far, in both units (c_v, lanes).</summary>
        public float* Output => Queries + head.KeyStride * Lanes;

        /// <summary>Weighted sum of the values in float32 so far (m, lanes).</summary>
        public float* MoreOutput => Output + head.ValueStride * Lanes;

        public int MoreColumns => moreColumns;

        private int Lanes => vectors * TLanes.Count;

        public static int LengthOf(QuantizedHead head, int moreColumns) => MaxGroupVectors * TLanes.Count * (5 + head.KeyStride + head.ValueStride + moreColumns);

        /// <summary>Quantizes the queries; lanes behind the last query repeat it.</summary>
        /// <param name="queries">All queries.</param>
        /// <param name="scale">Factor on the scores.</param>
        /// <param name="rows">Those to be computed, or null for all.</param>
        /// <param name="count">How many.</param>
        /// <param name="scratch">Room for the pairs of a query.</param>
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Begin(Matrix queries, float scale, int* rows, int count, float* scratch)
        {
            new Span<float>(Maximum, 2 * Lanes).Fill(float.NegativeInfinity);
            new Span<float>(Sum, 2 * Lanes).Clear();
            new Span<float>(Output, Lanes * (head.ValueStride + moreColumns)).Clear();
            for (int lane = 0; lane < Lanes; lane++)
            {
                int index = Math.Min(first + lane, count - 1);
                float* row = queries.Pointer + (long)(rows is null ? index : rows[index]) * queries.Stride;
                float unit = UnitOf(row, null, head.Width);
                Factor[lane] = (float)((double)unit * head.KeyUnit * Math.Abs((double)scale) * Math.Log2(Math.E));
                QuantizeRow(row, null, head.Width, float.CopySign(1 / unit, scale), scratch);
                float* target = Queries + lane;
                for (int c = 0; c < head.KeyStride; c++, target += Lanes)
                {
                    *target = scratch[c];
                }
            }
        }

        /// <summary>Writes the outputs and how sure they are.</summary>
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void End(Matrix output, Matrix moreOutput, int* rows, Matrix statistics)
        {
            int stride = Lanes;
            Span<float> middle = head.Middle, unit = head.Unit;
            for (int lane = 0; lane < stride && first + lane < statistics.Rows; lane++)
            {
                float* source = Output + lane;
                float inverse = 1 / Sum[lane];
                long index = rows is null ? first + lane : rows[first + lane];
                float* row = output.Pointer + index * output.Stride;
                for (int c = 0; c < output.Columns; c++, source += stride)
                {
                    row[c] = middle[c] + (*source * inverse * unit[c]);
                }

                source = MoreOutput + lane;
                row = moreColumns == 0 ? null : moreOutput.Pointer + index * moreOutput.Stride;
                for (int c = 0; c < moreColumns; c++, source += stride)
                {
                    row[c] = *source * inverse;
                }

                float* pair = statistics.Pointer + (long)(first + lane) * statistics.Stride;
                (pair[0], pair[1]) = (Rounded[lane] * inverse, Factor[lane]);
            }
        }
    }
}
