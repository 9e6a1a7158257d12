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
        Matrix keys, ReadOnlySpan<float> shift, Matrix values, ReadOnlySpan<float> middle, ReadOnlySpan<float> unit, QuantizedHead head)
    {
        Check.Quantize(keys, shift, values, middle, unit);
        head.Begin(keys.Rows, keys.Columns, values.Columns, shift, middle, unit);
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

    public override void QuantizedAttention(Matrix queries, float scale, QuantizedHead head, Matrix output, Matrix statistics)
    {
        Check.QuantizedAttention(queries, head, output, statistics);
        if (queries.Rows == 0)
        {
            return;
        }

        int vectors = CeilingDivide(queries.Rows, TLanes.Count);
        int groups = CeilingDivide(vectors, MaxGroupVectors);
        int taskGroups = Math.Clamp(MaxTaskState / QuantizedGroup.LengthOf(head), 1, MaxTaskGroups);
        int parts = Math.Max(CeilingDivide(groups, taskGroups), Math.Min(groups, MinTasksPerThread * Pool.Threads));
        var body = new QuantizedBody(queries, scale, head, output, statistics, vectors, groups, parts);
        Pool.Run(parts, ref body);
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
                    for (int c = 0; c < stride; c += TLanes.Count)
                    {
                        int room = Math.Min(TLanes.Count, stride - c), count = Math.Min(room, values.Columns - c);
                        TVector factor = First(factors + c, room), centre = First(middle + c, room);
                        TVector a = TLanes.Multiply(TLanes.Subtract(First(even + c, count), centre), factor);
                        TVector b = odd is null ? TLanes.Zero : TLanes.Multiply(TLanes.Subtract(First(odd + c, count), centre), factor);
                        StoreFirst(target + c, TLanes.JoinHalves(TLanes.ToInteger(a), TLanes.ToInteger(b)), room);
                    }
                }
            }
        }
    }

    /// <summary>The unit of one row less the shift, which may be null.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static float UnitOf(float* row, float* shift, int width)
    {
        TVector squares = TLanes.Zero, most = TLanes.Zero;
        for (int c = 0; c < width; c += TLanes.Count)
        {
            int count = Math.Min(TLanes.Count, width - c);
            TVector x = First(row + c, count);
            x = shift is null ? x : TLanes.Subtract(x, First(shift + c, count));
            squares = TLanes.MultiplyAdd(x, x, squares);
            most = TLanes.Max(most, TLanes.Max(x, TLanes.Subtract(TLanes.Zero, x)));
        }

        return QuantizedHead.UnitOf(MathF.Sqrt(TLanes.SumOf(squares)), TLanes.MaxOf(most));
    }

    /// <summary>Pairs of integers of a row less the shift, which may be null.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void QuantizeRow(float* row, float* shift, int width, float inverse, float* pairs)
    {
        int half = (width + 1) / 2;
        TVector factor = TLanes.Broadcast(inverse);
        for (int c = 0; c < half; c += TLanes.Count)
        {
            int low = Math.Min(TLanes.Count, half - c), high = Math.Clamp(width - half - c, 0, TLanes.Count);
            TVector a = First(row + c, low), b = First(row + half + c, high);
            if (shift is not null)
            {
                a = TLanes.Subtract(a, First(shift + c, low));
                b = TLanes.Subtract(b, First(shift + half + c, high));
            }

            a = TLanes.ToInteger(TLanes.Multiply(a, factor));
            b = TLanes.ToInteger(TLanes.Multiply(b, factor));
            StoreFirst(pairs + c, TLanes.JoinHalves(a, b), low);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static TVector First(float* source, int count) =>
        count == TLanes.Count ? TLanes.Load(source) : VectorMath<TLanes, TVector>.LoadFirst(source, Math.Max(0, count));

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void StoreFirst(float* target, TVector value, int count)
    {
        if (count == TLanes.Count)
        {
            TLanes.Store(target, value);
        }
        else
        {
            VectorMath<TLanes, TVector>.StoreFirst(target, value, count);
        }
    }

    /// <summary>Attention of some groups of queries.</summary>
    private readonly struct QuantizedBody(
        Matrix queries, float scale, QuantizedHead head, Matrix output, Matrix statistics, int vectors, int groups, int parts) : IParallelBody
    {
        public void Invoke(int part)
        {
            int first = Split(part, groups, parts), end = Split(part + 1, groups, parts);
            int length = QuantizedGroup.LengthOf(head), lanes = MaxGroupVectors * TLanes.Count;
            int room = Math.Max((QuantizedHead.KeyBlock + 3) * lanes, CeilingDivide(head.KeyStride, 16) * 16);
            using var scratch = Scratch.Rent((long)(end - first) * length + room);
            float* scores = scratch.Pointer, states = scores + room;
            for (int g = first; g < end; g++)
            {
                Group(g, states + (g - first) * length).Begin(queries, scale, scores);
            }

            for (int start = 0; start < head.Rows; start += QuantizedHead.KeyBlock)
            {
                int count = Math.Min(QuantizedHead.KeyBlock, head.Rows - start);
                float* keys = head.Keys + (long)start * head.KeyStride, values = head.Values + (long)(start / 2) * head.ValueStride;
                for (int g = first; g < end; g++)
                {
                    QuantizedGroup group = Group(g, states + (g - first) * length);
                    switch (group.Vectors)
                    {
                        case 1: AttendQuantized<One>(group, keys, values, count, scores); break;
                        case 2: AttendQuantized<Two>(group, keys, values, count, scores); break;
                        default: AttendQuantized<Three>(group, keys, values, count, scores); break;
                    }
                }
            }

            for (int g = first; g < end; g++)
            {
                Group(g, states + (g - first) * length).End(output, statistics);
            }
        }

        private static int Split(int part, int items, int parts) => (int)((long)part * items / parts);

        private QuantizedGroup Group(int group, float* state)
        {
            int start = Split(group, vectors, groups);
            return new QuantizedGroup(state, start * TLanes.Count, Split(group + 1, vectors, groups) - start, head);
        }
    }

    /// <summary>Up to three vectors of queries and what is known of their outputs.</summary>
    private readonly struct QuantizedGroup(float* state, int first, int vectors, QuantizedHead head)
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

        private int Lanes => vectors * TLanes.Count;

        public static int LengthOf(QuantizedHead head) => MaxGroupVectors * TLanes.Count * (5 + head.KeyStride + head.ValueStride);

        /// <summary>Quantizes the queries; lanes behind the last query repeat it.</summary>
        /// <param name="queries">All queries.</param>
        /// <param name="scale">Factor on the scores.</param>
        /// <param name="scratch">Room for the pairs of a query.</param>
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        public void Begin(Matrix queries, float scale, float* scratch)
        {
            new Span<float>(Maximum, 2 * Lanes).Fill(float.NegativeInfinity);
            new Span<float>(Sum, 2 * Lanes).Clear();
            new Span<float>(Output, Lanes * head.ValueStride).Clear();
            for (int lane = 0; lane < Lanes; lane++)
            {
                float* row = queries.Pointer + (long)Math.Min(first + lane, queries.Rows - 1) * queries.Stride;
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
        public void End(Matrix output, Matrix statistics)
        {
            int stride = Lanes;
            Span<float> middle = head.Middle, unit = head.Unit;
            for (int lane = 0; lane < stride && first + lane < output.Rows; lane++)
            {
                float* source = Output + lane;
                float inverse = 1 / Sum[lane];
                float* row = output.Pointer + (long)(first + lane) * output.Stride;
                for (int c = 0; c < output.Columns; c++, source += stride)
                {
                    row[c] = middle[c] + (*source * inverse * unit[c]);
                }

                float* pair = statistics.Pointer + (long)(first + lane) * statistics.Stride;
                (pair[0], pair[1]) = (Rounded[lane] * inverse, Factor[lane]);
            }
        }
    }

    /// <summary>Adds a block of keys and values to the outputs of a group.</summary>
    /// <param name="group">The group.</param>
    /// <param name="keys">The first key of the block.</param>
    /// <param name="values">The first pair of values.</param>
    /// <param name="count">Keys of the block.</param>
    /// <param name="scores">Room for (KeyBlock + 3, lanes): scores, which weights replace; then the largest score, and what weights are computed with.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void AttendQuantized<TVectors>(in QuantizedGroup group, float* keys, float* values, int count, float* scores)
        where TVectors : struct, ICount
    {
        int lanes = TVectors.Value * TLanes.Count, stride = group.Head.KeyStride;
        float* largest = scores + QuantizedHead.KeyBlock * lanes, rescale = largest + lanes, offset = rescale + lanes;
        TileRow<TVectors> row = default;
        row.Fill(TLanes.Broadcast(-0f)); // in integers, the smallest
        row.Store(largest);
        for (int key = 0; key < count; key += AttentionTileRows)
        {
            QuantizedScores<TVectors>(keys + (nint)key * stride, stride, group.Queries, scores + key * lanes, largest);
        }

        for (int lane = 0; lane < lanes; lane += TLanes.Count)
        {
            NewUnit(group, lane, TLanes.Load(largest + lane), rescale + lane, offset + lane);
        }

        WeighQuantized<TVectors>(group, scores, count, rescale, offset);
        int pairs = (count + 1) / 2, columns = group.Head.ValueStride;
        for (int column = 0; column < columns; column += AttentionTileRows)
        {
            QuantizedValues<TVectors>(values + column, columns, scores, pairs, rescale, group.Output + column * lanes);
        }
    }

    /// <summary>Chooses the unit of a block's weights: the largest is between half of <see cref="QuantizedHead.LargestWeight"/> and that, but for blocks whose weights are below 2^-40 of the largest so far.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void NewUnit(in QuantizedGroup group, int lane, TVector largest, float* rescale, float* offset)
    {
        TVector half = TLanes.Broadcast(0.5f);
        TVector score = TLanes.Multiply(TLanes.ToSingle(largest), TLanes.Load(group.Factor + lane));
        TVector maximum = TLanes.Max(TLanes.Load(group.Maximum + lane), score);
        TVector floor = TLanes.Subtract(TLanes.Round(TLanes.Add(maximum, half)), TLanes.Broadcast(SmallestUnit));
        TVector exponent = TLanes.Max(TLanes.Round(TLanes.Add(score, half)), floor);

        // A power of an integer, and so exact.
        TLanes.Store(rescale, VectorMath<TLanes, TVector>.Exp2(TLanes.Subtract(TLanes.Load(group.Exponent + lane), exponent)));
        TLanes.Store(offset, TLanes.Subtract(TLanes.Broadcast(WeightBits), exponent));
        TLanes.Store(group.Maximum + lane, maximum);
        TLanes.Store(group.Exponent + lane, exponent);
    }

    /// <summary>S^T (tile rows, lanes) = K Q^T in integers, and the largest of them in (lanes).</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void QuantizedScores<TVectors>(float* keys, nint stride, float* queries, float* scores, float* largest)
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

        row0.Store(scores);
        row1.Store(scores + lanes);
        row2.Store(scores + 2 * lanes);
        row3.Store(scores + 3 * lanes);
        row0.MaxInteger(row1);
        row2.MaxInteger(row3);
        row0.MaxInteger(row2);
        if (AttentionTileRows > 4)
        {
            row4.Store(scores + 4 * lanes);
            row5.Store(scores + 5 * lanes);
            row6.Store(scores + 6 * lanes);
            row7.Store(scores + 7 * lanes);
            row4.MaxInteger(row5);
            row6.MaxInteger(row7);
            row4.MaxInteger(row6);
            row0.MaxInteger(row4);
        }

        row1.Load(largest);
        row1.MaxInteger(row0);
        row1.Store(largest);
    }

    /// <summary>Turns the scores of a block into pairs of integer weights, and updates the sums of the group.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void WeighQuantized<TVectors>(in QuantizedGroup group, float* scores, int count, float* rescale, float* offset)
        where TVectors : struct, ICount
    {
        int lanes = TVectors.Value * TLanes.Count;
        TileRow<TVectors> factor = default, shift = default, total = default;
        factor.Load(group.Factor);
        shift.Load(offset);
        float* pairs = scores;
        for (int key = 0; key < count; key += 2)
        {
            TileRow<TVectors> even = default, odd = default;
            even.Load(scores);
            even.IntegerWeight(factor, shift);
            total.AddInteger(even);
            if (key + 1 < count)
            {
                odd.Load(scores + lanes);
                odd.IntegerWeight(factor, shift);
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
        total.Fill(TLanes.Broadcast(count));
        total.AddTo(group.Rounded, before);
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
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Fill(TVector value)
        {
            (_a, _b, _c) = (value, TVectors.Value > 1 ? value : _b, TVectors.Value > 2 ? value : _c);
        }

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

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void MaxInteger(in TileRow<TVectors> other)
        {
            _a = TLanes.MaxInteger(_a, other._a);
            if (TVectors.Value > 1)
            {
                _b = TLanes.MaxInteger(_b, other._b);
            }

            if (TVectors.Value > 2)
            {
                _c = TLanes.MaxInteger(_c, other._c);
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

        /// <summary>The integer next to 2^(this * factor + offset).</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void IntegerWeight(in TileRow<TVectors> factor, in TileRow<TVectors> offset)
        {
            _a = IntegerWeight(_a, factor._a, offset._a);
            if (TVectors.Value > 1)
            {
                _b = IntegerWeight(_b, factor._b, offset._b);
            }

            if (TVectors.Value > 2)
            {
                _c = IntegerWeight(_c, factor._c, offset._c);
            }
        }

        // The power within 7.6e-5 (a cubic, minimax for the relative error), which is less than rounding to integers changes most weights.
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static TVector IntegerWeight(TVector score, TVector factor, TVector offset)
        {
            TVector x = TLanes.Max(TLanes.Broadcast(-20f), TLanes.MultiplyAdd(TLanes.ToSingle(score), factor, offset));
            TVector magic = TLanes.Broadcast(12582912f); // 1.5 * 2^23: the nearest integer is left in the lowest bits
            TVector shifted = TLanes.Add(x, magic);
            TVector r = TLanes.Subtract(x, TLanes.Subtract(shifted, magic));
            TVector q = TLanes.MultiplyAdd(TLanes.Broadcast(0.05517167f), r, TLanes.Broadcast(0.24261112f));
            q = TLanes.MultiplyAdd(q, r, TLanes.Broadcast(0.69326099f));
            q = TLanes.MultiplyAdd(q, r, TLanes.Broadcast(0.99992807f));
            return TLanes.ToInteger(TLanes.AddExponent(q, shifted));
        }
    }
}
