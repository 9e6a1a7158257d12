using System.Runtime.CompilerServices;

namespace Subquartic.Numerics.Kernels;

// The inner loops of attention from integers: one block of keys and values against one group of queries.
internal sealed unsafe partial class VectorKernels<TLanes, TVector>
{
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
