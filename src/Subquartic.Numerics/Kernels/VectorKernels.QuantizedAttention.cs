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
        int tasks = CeilingDivide(keys.Rows, QuantizeRows);
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

        int vectors = CeilingDivide(statistics.Rows, TLanes.Count);
        int groups = CeilingDivide(vectors, MaxGroupVectors);
        int taskGroups = Math.Clamp(MaxTaskState / QuantizedGroup.LengthOf(head, more.Columns), 1, MaxTaskGroups);
        int parts = Math.Max(CeilingDivide(groups, taskGroups), Math.Min(groups, MinTasksPerThread * Pool.Threads));
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
            int rows = end > last ? CeilingDivide(end, QuantizedHead.Tile) * QuantizedHead.Tile : end, stride = head.KeyStride;
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
            int first = Split(part, groups, parts), end = Split(part + 1, groups, parts);
            int length = QuantizedGroup.LengthOf(head, more.Columns), lanes = MaxGroupVectors * TLanes.Count;
            int room = Math.Max((2 * QuantizedHead.KeyBlock + 3) * lanes, CeilingDivide(head.KeyStride, 16) * 16);
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

        private static int Split(int part, int items, int parts) => (int)((long)part * items / parts);

        private QuantizedGroup Group(int group, float* state)
        {
            int start = Split(group, vectors, groups);
            return new QuantizedGroup(state, start * TLanes.Count, Split(group + 1, vectors, groups) - start, head, more.Columns);
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

        /// <summary>The unit of weights is 2^this, an integer, less 14 (lanes).</summary>
        public float* Exponent => state + 2 * Lanes;

        /// <summary>Sum of the weights so far, in the unit (lanes).</summary>
        public float* Sum => state + 3 * Lanes;

        /// <summary>How many units at most were lost by rounding weights, twice that (lanes).</summary>
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

    /// <summary>A block of keys and values, and room for its scores.</summary>
    private struct QuantizedBlock
    {
        public int Count;
        public float* Keys;
        public float* Bias;

        /// <summary>Pairs of values of two keys.</summary>
        public float* Values;

        /// <summary>Values in float32, or null.</summary>
        public float* More;
        public int MoreStride;

        /// <summary>(KeyBlock, lanes): scores, which pairs of weights replace; then the largest score and what weights are computed with, (lanes) each, and weights in float32 (KeyBlock, lanes).</summary>
        public float* Scores;
    }

    /// <summary>Adds a block of keys and values to the outputs of a group.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void AttendQuantized<TVectors>(in QuantizedGroup group, in QuantizedBlock block)
        where TVectors : struct, ICount
    {
        int lanes = TVectors.Value * TLanes.Count, stride = group.Head.KeyStride, count = block.Count;
        float* scores = block.Scores, largest = scores + QuantizedHead.KeyBlock * lanes, rescale = largest + lanes, offset = rescale + lanes;
        float* weights = block.More is null ? null : offset + lanes;
        new Span<float>(largest, lanes).Fill(float.NegativeInfinity);
        for (int key = 0; key < count; key += AttentionTileRows)
        {
            QuantizedScores<TVectors>(block.Keys + (nint)key * stride, stride, group.Queries, group.Factor, block.Bias + key, scores + key * lanes, largest);
        }

        for (int lane = 0; lane < lanes; lane += TLanes.Count)
        {
            NewUnit(group, lane, TLanes.Load(largest + lane), rescale + lane, offset + lane);
        }

        WeighQuantized<TVectors>(group, scores, count, rescale, offset, weights);
        int columns = group.Head.ValueStride;
        for (int column = 0; column < columns; column += AttentionTileRows)
        {
            QuantizedValues<TVectors>(block.Values + column, columns, scores, (count + 1) / 2, rescale, group.Output + column * lanes);
        }

        for (int column = 0; column < group.MoreColumns; column += AttentionTileRows)
        {
            ValueTile<TVectors>(block.More + column, block.MoreStride, weights, count, rescale, group.MoreOutput + column * lanes);
        }
    }

    /// <summary>Chooses the unit of a block's weights: the largest is between half of <see cref="QuantizedHead.LargestWeight"/> and that, but for blocks whose weights are below 2^-40 of the largest so far.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void NewUnit(in QuantizedGroup group, int lane, TVector score, float* rescale, float* offset)
    {
        TVector half = TLanes.Broadcast(0.5f);
        TVector maximum = TLanes.Max(TLanes.Load(group.Maximum + lane), score);
        TVector floor = TLanes.Subtract(TLanes.Round(TLanes.Add(maximum, half)), TLanes.Broadcast(SmallestUnit));
        TVector exponent = TLanes.Max(TLanes.Round(TLanes.Add(score, half)), floor);

        // A power of an integer, and so exact.
        TLanes.Store(rescale, VectorMath<TLanes, TVector>.Exp2(TLanes.Subtract(TLanes.Load(group.Exponent + lane), exponent)));
        TLanes.Store(offset, TLanes.Subtract(TLanes.Broadcast(WeightBits), exponent));
        TLanes.Store(group.Maximum + lane, maximum);
        TLanes.Store(group.Exponent + lane, exponent);
    }

    /// <summary>S^T (tile rows, lanes) = K Q^T in integers, turned into scores times log2(e); and the largest of them in (lanes).</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void QuantizedScores<TVectors>(float* keys, nint stride, float* queries, float* factor, float* bias, float* scores, float* largest)
        where TVectors : struct, ICount
    {
        int lanes = TVectors.Value * TLanes.Count;
        TileRow<TVectors> row0 = default, row1 = default, row2 = default, row3 = default;
        TileRow<TVectors> row4 = default, row5 = default, row6 = default, row7 = default;
        float* keys3 = keys + 3 * stride;
        float* keys6 = keys3 + 3 * stride;
        for (nint step = 0; step < stride; step++)
        {
            TVector a = TLanes.Load(queries);
            TVector b = TVectors.Value > 1 ? TLanes.Load(queries + TLanes.Count) : TLanes.Zero;
            TVector c = TVectors.Value > 2 ? TLanes.Load(queries + 2 * TLanes.Count) : TLanes.Zero;
            row0.AddPairProducts(keys[0], a, b, c);
            row1.AddPairProducts(keys[stride], a, b, c);
            row2.AddPairProducts(keys[2 * stride], a, b, c);
            row3.AddPairProducts(keys3[0], a, b, c);
            if (AttentionTileRows > 4)
            {
                row4.AddPairProducts(keys3[stride], a, b, c);
                row5.AddPairProducts(keys3[2 * stride], a, b, c);
                row6.AddPairProducts(keys6[0], a, b, c);
                row7.AddPairProducts(keys6[stride], a, b, c);
                keys6++;
            }

            keys++;
            keys3++;
            queries += lanes;
        }

        TileRow<TVectors> scale = default, most = default;
        scale.Load(factor);
        most.Load(largest);
        Finish(ref row0, bias[0], scores);
        Finish(ref row1, bias[1], scores + lanes);
        Finish(ref row2, bias[2], scores + 2 * lanes);
        Finish(ref row3, bias[3], scores + 3 * lanes);
        if (AttentionTileRows > 4)
        {
            Finish(ref row4, bias[4], scores + 4 * lanes);
            Finish(ref row5, bias[5], scores + 5 * lanes);
            Finish(ref row6, bias[6], scores + 6 * lanes);
            Finish(ref row7, bias[7], scores + 7 * lanes);
        }

        most.Store(largest);

        void Finish(ref TileRow<TVectors> row, float add, float* target)
        {
            row.ToScores(scale, add);
            row.Store(target);
            most.Max(row);
        }
    }

    /// <summary>Turns the scores of a block into pairs of integer weights, and updates the sums of the group.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void WeighQuantized<TVectors>(in QuantizedGroup group, float* scores, int count, float* rescale, float* offset, float* weights)
        where TVectors : struct, ICount
    {
        int lanes = TVectors.Value * TLanes.Count;
        TileRow<TVectors> shift = default, total = default;
        shift.Load(offset);
        float* pairs = scores;
        for (int key = 0; key < count; key += 2)
        {
            TileRow<TVectors> even = default, odd = default;
            even.Load(scores);
            even.Power(shift);
            if (weights is not null)
            {
                even.Store(weights + key * lanes);
            }

            even.ToInteger();
            total.AddInteger(even);
            if (key + 1 < count)
            {
                odd.Load(scores + lanes);
                odd.Power(shift);
                if (weights is not null)
                {
                    odd.Store(weights + (key + 1) * lanes);
                }

                odd.ToInteger();
                total.AddInteger(odd);
            }

            even.JoinHalves(odd);
            even.Store(pairs);
            scores += 2 * lanes;
            pairs += lanes;
        }

        TileRow<TVectors> before = default;
        before.Load(rescale);
        total.ToSingle();
        total.AddTo(group.Sum, before);
        TVector units = TLanes.Broadcast(count);
        for (int lane = 0; lane < lanes; lane += TLanes.Count)
        {
            TLanes.Store(group.Rounded + lane, TLanes.MultiplyAdd(TLanes.Load(group.Rounded + lane), TLanes.Load(rescale + lane), units));
        }
    }

    /// <summary>O^T (tile rows, lanes) = O^T * rescale + V^T P^T, the product in integers.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void QuantizedValues<TVectors>(float* values, nint stride, float* weights, int pairs, float* rescale, float* output)
        where TVectors : struct, ICount
    {
        int lanes = TVectors.Value * TLanes.Count;
        TileRow<TVectors> row0 = default, row1 = default, row2 = default, row3 = default;
        TileRow<TVectors> row4 = default, row5 = default, row6 = default, row7 = default;
        for (int pair = 0; pair < pairs; pair++)
        {
            TVector a = TLanes.Load(weights);
            TVector b = TVectors.Value > 1 ? TLanes.Load(weights + TLanes.Count) : TLanes.Zero;
            TVector c = TVectors.Value > 2 ? TLanes.Load(weights + 2 * TLanes.Count) : TLanes.Zero;
            row0.AddPairProducts(values[0], a, b, c);
            row1.AddPairProducts(values[1], a, b, c);
            row2.AddPairProducts(values[2], a, b, c);
            row3.AddPairProducts(values[3], a, b, c);
            if (AttentionTileRows > 4)
            {
                row4.AddPairProducts(values[4], a, b, c);
                row5.AddPairProducts(values[5], a, b, c);
                row6.AddPairProducts(values[6], a, b, c);
                row7.AddPairProducts(values[7], a, b, c);
            }

            values += stride;
            weights += lanes;
        }

        TileRow<TVectors> factor = default;
        factor.Load(rescale);
        Add(ref row0, output);
        Add(ref row1, output + lanes);
        Add(ref row2, output + 2 * lanes);
        Add(ref row3, output + 3 * lanes);
        if (AttentionTileRows > 4)
        {
            Add(ref row4, output + 4 * lanes);
            Add(ref row5, output + 5 * lanes);
            Add(ref row6, output + 6 * lanes);
            Add(ref row7, output + 7 * lanes);
        }

        void Add(ref TileRow<TVectors> row, float* target)
        {
            row.ToSingle();
            row.AddTo(target, factor);
        }
    }

    // Rows of a tile as integers, two to 32 bits or one.
    private partial struct TileRow<TVectors>
    {
        /// <summary>this += low * low + high * high, of the halves of value and of (a, b, c).</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void AddPairProducts(float value, TVector a, TVector b, TVector c)
        {
            TVector x = TLanes.Broadcast(value);
            _a = TLanes.AddPairProducts(_a, x, a);
            if (TVectors.Value > 1)
            {
                _b = TLanes.AddPairProducts(_b, x, b);
            }

            if (TVectors.Value > 2)
            {
                _c = TLanes.AddPairProducts(_c, x, c);
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void AddInteger(in TileRow<TVectors> other)
        {
            _a = TLanes.AddInteger(_a, other._a);
            if (TVectors.Value > 1)
            {
                _b = TLanes.AddInteger(_b, other._b);
            }

            if (TVectors.Value > 2)
            {
                _c = TLanes.AddInteger(_c, other._c);
            }
        }

        /// <summary>The lower halves of this, and those of <paramref name="high"/> above them.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void JoinHalves(in TileRow<TVectors> high)
        {
            _a = TLanes.JoinHalves(_a, high._a);
            if (TVectors.Value > 1)
            {
                _b = TLanes.JoinHalves(_b, high._b);
            }

            if (TVectors.Value > 2)
            {
                _c = TLanes.JoinHalves(_c, high._c);
            }
        }

        /// <summary>From integers to float32, rounded.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void ToSingle()
        {
            _a = TLanes.ToSingle(_a);
            if (TVectors.Value > 1)
            {
                _b = TLanes.ToSingle(_b);
            }

            if (TVectors.Value > 2)
            {
                _c = TLanes.ToSingle(_c);
            }
        }

        /// <summary>The nearest integers.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void ToInteger()
        {
            _a = TLanes.ToInteger(_a);
            if (TVectors.Value > 1)
            {
                _b = TLanes.ToInteger(_b);
            }

            if (TVectors.Value > 2)
            {
                _c = TLanes.ToInteger(_c);
            }
        }

        /// <summary>From integers to this * factor + bias.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void ToScores(in TileRow<TVectors> factor, float bias)
        {
            TVector add = TLanes.Broadcast(bias);
            _a = TLanes.MultiplyAdd(TLanes.ToSingle(_a), factor._a, add);
            if (TVectors.Value > 1)
            {
                _b = TLanes.MultiplyAdd(TLanes.ToSingle(_b), factor._b, add);
            }

            if (TVectors.Value > 2)
            {
                _c = TLanes.MultiplyAdd(TLanes.ToSingle(_c), factor._c, add);
            }
        }

        /// <summary>2^(this + offset), nearly.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Power(in TileRow<TVectors> offset)
        {
            _a = Power(TLanes.Add(_a, offset._a));
            if (TVectors.Value > 1)
            {
                _b = Power(TLanes.Add(_b, offset._b));
            }

            if (TVectors.Value > 2)
            {
                _c = Power(TLanes.Add(_c, offset._c));
            }
        }

        // Within 7.6e-5 (a cubic, minimax for the relative error), which is less than rounding to integers changes most weights; 2^-20 for all below.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static TVector Power(TVector x)
        {
            x = TLanes.Max(TLanes.Broadcast(-20f), x);
            TVector magic = TLanes.Broadcast(12582912f); // 1.5 * 2^23: the nearest integer is left in the lowest bits
            TVector shifted = TLanes.Add(x, magic);
            TVector r = TLanes.Subtract(x, TLanes.Subtract(shifted, magic));
            TVector q = TLanes.MultiplyAdd(TLanes.Broadcast(0.05517167f), r, TLanes.Broadcast(0.24261112f));
            q = TLanes.MultiplyAdd(q, r, TLanes.Broadcast(0.69326099f));
            q = TLanes.MultiplyAdd(q, r, TLanes.Broadcast(0.99992807f));
            return TLanes.AddExponent(q, shifted);
        }
    }
}
