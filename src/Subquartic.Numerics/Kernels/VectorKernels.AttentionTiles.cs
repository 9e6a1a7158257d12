using System.Runtime.CompilerServices;

namespace Subquartic.Numerics.Kernels;

// The inner loops of attention: one block of keys and values against one group of queries.
internal sealed unsafe partial class VectorKernels<TLanes, TVector>
{
    /// <summary>Depth of a product before the next tile begins: the queries of a group up to here (24 KB) stay in the
    /// first-level cache while the keys of a block pass.</summary>
    private const int DepthBlock = 128;

    /// <summary>Rows of a tile: 8 x 3 accumulators where there are 32 registers, 4 x 3 where there are 16.</summary>
    private static int AttentionTileRows
    {
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        get => TLanes.TileRows >= 8 ? 8 : 4;
    }

    /// <summary>A number the compiler knows.</summary>
    private interface ICount
    {
        static abstract int Value { get; }
    }

    private readonly struct One : ICount
    {
        public static int Value => 1;
    }

    private readonly struct Two : ICount
    {
        public static int Value => 2;
    }

    private readonly struct Three : ICount
    {
        public static int Value => 3;
    }

    /// <summary>A block of keys and values, row-major, and room for its scores.</summary>
    private struct KeyValueBlock
    {
        public int Count;
        public float* Keys;
        public int KeyStride;
        public float* Values;
        public int ValueStride;

        /// <summary>(KeyBlock, lanes); then the maxima of the block and the factors on what was accumulated before, (lanes) each.</summary>
        public float* Scores;
    }

    /// <summary>Adds a block of keys and values to the outputs of a group.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void AttendBlock<TVectors>(in QueryGroup group, in KeyValueBlock block)
        where TVectors : struct, ICount
    {
        int lanes = TVectors.Value * TLanes.Count;
        float* scores = block.Scores;
        float* blockMaximum = scores + KeyBlock * lanes;
        TileRow<TVectors> maximum = default;
        maximum.Load(group.Maximum);
        maximum.Store(blockMaximum);
        for (int depth = 0; depth < group.Width; depth += DepthBlock)
        {
            int steps = Math.Min(DepthBlock, group.Width - depth);
            for (int key = 0; key < block.Count; key += AttentionTileRows)
            {
                ScoreTile<TVectors>(
                    block.Keys + (nint)key * block.KeyStride + depth, block.KeyStride, group.Queries + depth * lanes, steps,
                    depth > 0, scores + key * lanes, depth + steps == group.Width ? blockMaximum : null);
            }
        }

        float* rescale = blockMaximum + lanes;
        Weigh<TVectors>(scores, block.Count, blockMaximum, group.Maximum, group.Sum, rescale);
        for (int column = 0; column < group.ValueColumns; column += AttentionTileRows)
        {
            ValueTile<TVectors>(
                block.Values + column, block.ValueStride, scores, block.Count, rescale, group.Output + column * lanes);
        }
    }

    /// <summary>S^T (tile rows, lanes) = K (tile rows, steps) Q^T (steps, lanes), added to S^T when there is an earlier part;
    /// with the last part, the maximum follows.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void ScoreTile<TVectors>(
        float* keys, nint stride, float* queries, int steps, bool accumulate, float* scores, float* maximum)
        where TVectors : struct, ICount
    {
        int lanes = TVectors.Value * TLanes.Count;
        TileRow<TVectors> row0 = default, row1 = default, row2 = default, row3 = default;
        TileRow<TVectors> row4 = default, row5 = default, row6 = default, row7 = default;
        if (accumulate)
        {
            row0.Load(scores);
            row1.Load(scores + lanes);
            row2.Load(scores + 2 * lanes);
            row3.Load(scores + 3 * lanes);
            if (AttentionTileRows > 4)
            {
                row4.Load(scores + 4 * lanes);
                row5.Load(scores + 5 * lanes);
                row6.Load(scores + 6 * lanes);
                row7.Load(scores + 7 * lanes);
            }
        }

        float* keys3 = keys + 3 * stride;
        float* keys6 = keys3 + 3 * stride;
        for (int step = 0; step < steps; step++)
        {
            TVector a = TLanes.Load(queries);
            TVector b = TVectors.Value > 1 ? TLanes.Load(queries + TLanes.Count) : TLanes.Zero;
            TVector c = TVectors.Value > 2 ? TLanes.Load(queries + 2 * TLanes.Count) : TLanes.Zero;
            row0.MultiplyAdd(keys[0], a, b, c);
            row1.MultiplyAdd(keys[stride], a, b, c);
            row2.MultiplyAdd(keys[2 * stride], a, b, c);
            row3.MultiplyAdd(keys3[0], a, b, c);
            if (AttentionTileRows > 4)
            {
                row4.MultiplyAdd(keys3[stride], a, b, c);
                row5.MultiplyAdd(keys3[2 * stride], a, b, c);
                row6.MultiplyAdd(keys6[0], a, b, c);
                row7.MultiplyAdd(keys6[stride], a, b, c);
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
        if (AttentionTileRows > 4)
        {
            row4.Store(scores + 4 * lanes);
            row5.Store(scores + 5 * lanes);
            row6.Store(scores + 6 * lanes);
            row7.Store(scores + 7 * lanes);
        }

        if (maximum is not null)
        {
            row0.Max(row1);
            row2.Max(row3);
            row0.Max(row2);
            if (AttentionTileRows > 4)
            {
                row4.Max(row5);
                row6.Max(row7);
                row4.Max(row6);
                row0.Max(row4);
            }

            row1.Load(maximum);
            row1.Max(row0);
            row1.Store(maximum);
        }
    }

    /// <summary>Turns the scores of a block into weights 2^(s - m') with the new maximum m', and updates maxima and sums.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Weigh<TVectors>(
        float* scores, int count, float* blockMaximum, float* maximum, float* sum, float* rescale)
        where TVectors : struct, ICount
    {
        int lanes = TVectors.Value * TLanes.Count;
        TileRow<TVectors> max = default, factor = default, total = default;
        max.Load(blockMaximum);
        factor.Load(maximum);
        factor.Weigh(max);
        factor.Store(rescale);
        max.Store(maximum);
        for (int key = 0; key < count; key++, scores += lanes)
        {
            TileRow<TVectors> weight = default;
            weight.Load(scores);
            weight.Weigh(max);
            weight.Store(scores);
            total.Add(weight);
        }

        total.AddTo(sum, factor);
    }

    /// <summary>O^T (tile rows, lanes) = O^T * rescale + V^T (tile rows, count) P^T (count, lanes).</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void ValueTile<TVectors>(
        float* values, nint stride, float* weights, int count, float* rescale, float* output)
        where TVectors : struct, ICount
    {
        int lanes = TVectors.Value * TLanes.Count;
        TileRow<TVectors> row0 = default, row1 = default, row2 = default, row3 = default;
        TileRow<TVectors> row4 = default, row5 = default, row6 = default, row7 = default;
        for (int key = 0; key < count; key++)
        {
            TVector a = TLanes.Load(weights);
            TVector b = TVectors.Value > 1 ? TLanes.Load(weights + TLanes.Count) : TLanes.Zero;
            TVector c = TVectors.Value > 2 ? TLanes.Load(weights + 2 * TLanes.Count) : TLanes.Zero;
            row0.MultiplyAdd(values[0], a, b, c);
            row1.MultiplyAdd(values[1], a, b, c);
            row2.MultiplyAdd(values[2], a, b, c);
            row3.MultiplyAdd(values[3], a, b, c);
            if (AttentionTileRows > 4)
            {
                row4.MultiplyAdd(values[4], a, b, c);
                row5.MultiplyAdd(values[5], a, b, c);
                row6.MultiplyAdd(values[6], a, b, c);
                row7.MultiplyAdd(values[7], a, b, c);
            }

            values += stride;
            weights += lanes;
        }

        TileRow<TVectors> factor = default;
        factor.Load(rescale);
        row0.AddTo(output, factor);
        row1.AddTo(output + lanes, factor);
        row2.AddTo(output + 2 * lanes, factor);
        row3.AddTo(output + 3 * lanes, factor);
        if (AttentionTileRows > 4)
        {
            row4.AddTo(output + 4 * lanes, factor);
            row5.AddTo(output + 5 * lanes, factor);
            row6.AddTo(output + 6 * lanes, factor);
            row7.AddTo(output + 7 * lanes, factor);
        }
    }

    /// <summary>A row of a tile, up to three vectors in registers; those beyond TVectors are never touched.</summary>
    private partial struct TileRow<TVectors>
        where TVectors : struct, ICount
    {
        private TVector _a;
        private TVector _b;
        private TVector _c;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Load(float* source)
        {
            _a = TLanes.Load(source);
            if (TVectors.Value > 1)
            {
                _b = TLanes.Load(source + TLanes.Count);
            }

            if (TVectors.Value > 2)
            {
                _c = TLanes.Load(source + 2 * TLanes.Count);
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly void Store(float* destination)
        {
            TLanes.Store(destination, _a);
            if (TVectors.Value > 1)
            {
                TLanes.Store(destination + TLanes.Count, _b);
            }

            if (TVectors.Value > 2)
            {
                TLanes.Store(destination + 2 * TLanes.Count, _c);
            }
        }

        /// <summary>destination = destination * factor + this.</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public readonly void AddTo(float* destination, in TileRow<TVectors> factor)
        {
            TLanes.Store(destination, TLanes.MultiplyAdd(TLanes.Load(destination), factor._a, _a));
            if (TVectors.Value > 1)
            {
                destination += TLanes.Count;
                TLanes.Store(destination, TLanes.MultiplyAdd(TLanes.Load(destination), factor._b, _b));
            }

            if (TVectors.Value > 2)
            {
                destination += TLanes.Count;
                TLanes.Store(destination, TLanes.MultiplyAdd(TLanes.Load(destination), factor._c, _c));
            }
        }

        /// <summary>this += value * (a, b, c).</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void MultiplyAdd(float value, TVector a, TVector b, TVector c)
        {
            TVector x = TLanes.Broadcast(value);
            _a = TLanes.MultiplyAdd(x, a, _a);
            if (TVectors.Value > 1)
            {
                _b = TLanes.MultiplyAdd(x, b, _b);
            }

            if (TVectors.Value > 2)
            {
                _c = TLanes.MultiplyAdd(x, c, _c);
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Add(in TileRow<TVectors> other)
        {
            _a = TLanes.Add(_a, other._a);
            if (TVectors.Value > 1)
            {
                _b = TLanes.Add(_b, other._b);
            }

            if (TVectors.Value > 2)
            {
                _c = TLanes.Add(_c, other._c);
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Max(in TileRow<TVectors> other)
        {
            _a = TLanes.Max(_a, other._a);
            if (TVectors.Value > 1)
            {
                _b = TLanes.Max(_b, other._b);
            }

            if (TVectors.Value > 2)
            {
                _c = TLanes.Max(_c, other._c);
            }
        }

        /// <summary>this = 2^(this - maximum).</summary>
        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public void Weigh(in TileRow<TVectors> maximum)
        {
            _a = VectorMath<TLanes, TVector>.Exp2(TLanes.Subtract(_a, maximum._a));
            if (TVectors.Value > 1)
            {
                _b = VectorMath<TLanes, TVector>.Exp2(TLanes.Subtract(_b, maximum._b));
            }

            if (TVectors.Value > 2)
            {
                _c = VectorMath<TLanes, TVector>.Exp2(TLanes.Subtract(_c, maximum._c));
            }
        }
    }
}
